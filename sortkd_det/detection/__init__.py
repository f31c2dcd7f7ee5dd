"""MMDetection's side: its registries, COCO's files and their checks, other formats of labels."""
