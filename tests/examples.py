"""How many examples the laws take that need a database for each: a fifth of those of the profile."""

from hypothesis import HealthCheck, settings

FEW = settings(
    max_examples=settings().max_examples // 5,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
