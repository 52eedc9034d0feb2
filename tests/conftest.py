"""What every test runs under."""

from hypothesis import HealthCheck, settings

# The two cores of a small machine are busy with other tests: time is no failure here, and every run tries the same.
settings.register_profile(
    "default", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")
