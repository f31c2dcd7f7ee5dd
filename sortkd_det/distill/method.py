"""A method: a list of terms, and a weight for the student's own losses."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from sortkd_det.functional import check_positive
from sortkd_det.losses import FeatureLoss
from sortkd_det.registry import MODELS, build, construct

from .box_term import BoxTerm
from .feature_batch import FeatureBatch
from .feature_term import FeatureTerm
from .logit_batch import LogitBatch
from .term import Term

_TERMS = {'Term': Term, 'FeatureTerm': FeatureTerm, 'BoxTerm': BoxTerm}


class Method(nn.Module):
    """The terms of a method, summed beside the student's own losses.

    Args:
        terms: configs of terms, or one of them: arguments of :class:`Term`, or, with
            ``type='FeatureTerm'`` or a loss of features, of :class:`FeatureTerm`, or, with
            ``type='BoxTerm'``, of :class:`BoxTerm`.
        student_weight: multiplies the student's own losses; ≥ 0.

    Raises:
        KeyError, TypeError, ValueError: as the terms, or no terms at all.
    """

    def __init__(self, terms: Sequence[dict] | dict, student_weight: float = 1.0) -> None:
        super().__init__()
        terms = [terms] if isinstance(terms, Mapping) else terms
        if not isinstance(terms, Sequence) or isinstance(terms, str):
            raise TypeError(f'method must be a list of terms, [dict(loss="KDLoss")], got {terms!r}')
        if not terms:
            raise ValueError('method needs at least one term, e.g. [dict(loss="KDLoss")]')
        self.terms = nn.ModuleList(_build_term(config) for config in terms)
        self.student_weight = check_positive('student_weight', student_weight, allow_zero=True)

    @property
    def loss_names(self) -> list[str]:
        """The key of each term in the runner's dict of losses."""
        if len(self.terms) == 1:
            return ['loss_distill']
        return [f'loss_distill_{index}' for index in range(len(self.terms))]

    @property
    def needs(self) -> frozenset[str]:
        """What the terms are of: ``'classes'``, ``'boxes'``, ``'offsets'``, ``'features'``."""
        return frozenset(term.of for term in self.terms)

    @property
    def reads_logits(self) -> bool:
        """Whether a term is of logits, so that the heads of both are read."""
        return self.needs != {'features'}

    @property
    def feature_terms(self) -> list[FeatureTerm]:
        """The terms that are of features."""
        return [term for term in self.terms if isinstance(term, FeatureTerm)]

    def check(self, activation: str) -> None:
        """Raise unless every term can teach heads of this activation, as :meth:`Term.check`."""
        for term in self.terms:
            term.check(activation)

    def forward(
        self,
        batch: LogitBatch | None,
        now: int,
        features: FeatureBatch | None = None,
    ) -> dict[str, Tensor]:
        """The loss of each term.

        Args:
            batch: the logits of a batch; None if no term is of logits.
            now: the epoch (iteration) that runs, counted from 1.
            features: the maps of both; None if no term is of features.
        """
        return {
            name: term(features if isinstance(term, FeatureTerm) else batch, now)
            for name, term in zip(self.loss_names, self.terms, strict=True)
        }

    def temperatures(self) -> dict[str, Tensor]:
        """The learned temperatures of this moment, for the log."""
        return {
            name.replace('loss_distill', 'temperature'): term.loss.temperature().detach()
            for name, term in zip(self.loss_names, self.terms, strict=True)
            if isinstance(getattr(term.loss, 'temperature', None), nn.Module)
        }

    def scale_own(self, losses: dict[str, Any]) -> dict[str, Any]:
        """The student's own losses times ``student_weight``; other entries as they are."""
        if self.student_weight == 1.0:
            return losses
        return {
            name: _times(value, self.student_weight) if 'loss' in name else value
            for name, value in losses.items()
        }


def _build_term(config: Any) -> Term | FeatureTerm | BoxTerm:
    if isinstance(config, Term | FeatureTerm | BoxTerm):
        return config
    if not isinstance(config, Mapping):
        raise TypeError(f'a term of a method is dict(loss=…, …), got {config!r}')
    arguments = dict(config)
    kind = arguments.pop('type', None)
    if kind not in (None, *_TERMS):
        raise ValueError(f'type of a term must be one of {sorted(_TERMS)}, got {kind!r}')
    if kind is None and 'loss' in arguments:
        arguments['loss'] = build(MODELS, arguments['loss'], 'loss')
        kind = 'FeatureTerm' if isinstance(arguments['loss'], FeatureLoss) else 'Term'
    return construct(_TERMS[kind or 'Term'], arguments, f'term {config}')


def _times(value: Any, weight: float) -> Any:
    if isinstance(value, list | tuple):
        return [item * weight for item in value]
    return value * weight
