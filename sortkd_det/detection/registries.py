"""What MMDetection wants done before its runs."""

from mmdet.utils import register_all_modules, setup_cache_size_limit_of_dynamo


def register_mmdet() -> None:
    """What MMDetection's own tools do first: fill its registries, bound dynamo's cache."""
    setup_cache_size_limit_of_dynamo()
    register_all_modules(init_default_scope=False)
