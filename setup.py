"""The optional C core. Everything else about the package stands in pyproject.toml.

Without a C++17 compiler the build goes on and the Python reference serves; `penstock.core` says which one runs.
"""

import os
import sys
import sysconfig

from setuptools import Extension, setup

# The limited API: one build serves CPython 3.11 and later. Free-threaded builds have none, and get no core.
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
windows = sys.platform == "win32"
flags = ["/std:c++17", "/O2"] if windows else ["-std=c++17", "-O3", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra"]
core = Extension(
    "penstock._journal._ring",
    ["src/penstock/_journal/_ring.cpp"],
    language="c++",
    extra_compile_args=flags + os.environ.get("PENSTOCK_CORE_FLAGS", "").split(),
    extra_link_args=os.environ.get("PENSTOCK_CORE_FLAGS", "").split(),
    py_limited_api=True,
    optional="PENSTOCK_CORE_FLAGS" not in os.environ,  # whoever asks for special flags wants to see it fail
)
setup(
    ext_modules=[] if free_threaded else [core],
    options={} if free_threaded else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
