"""Pictures of a trial, drawn with matplotlib by the worker that trained it."""
