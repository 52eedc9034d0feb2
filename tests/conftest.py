"""What every test runs under."""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# The two cores of a small machine are busy with other tests: time is no failure here, and every run tries the same.
settings.register_profile(
    "default", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that can't run here is told so by a skip; where CI is set, that is a failure."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report
