"""What penstock costs, beside what the same work costs without it: ``python -m bench [--short] [NAME ...]``.

Every part runs its measurements in fresh subprocesses, always with a baseline in the same run; docs/benchmarks.md says
what is measured, how, and with which bias. Nothing here is installed with the library.
"""
