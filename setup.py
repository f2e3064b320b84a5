"""Build of simdrop: the folder `kernels/` is installed as the package `simdrop_kernels`."""

from setuptools import find_packages, setup

packages = find_packages(include=["simdrop", "simdrop.*"])
kernels = ["simdrop_kernels", *(f"simdrop_kernels.{name}" for name in find_packages("kernels"))]

setup(
    packages=packages + kernels,
    package_dir={"simdrop_kernels": "kernels"},
    package_data={"simdrop": ["py.typed"], "simdrop_kernels": ["py.typed"]},
)
