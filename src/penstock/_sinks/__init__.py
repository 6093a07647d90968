"""Sinks: where the writer's chunks go. ``local`` appends lines to the run folder."""
