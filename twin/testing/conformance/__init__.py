"""One suite per port; every implementation runs it."""

import pytest

# The suites are no test modules, so pytest would not explain their failed assertions unless told.
pytest.register_assert_rewrite(
    "twin.testing.conformance.access",
    "twin.testing.conformance.access_hooks",
    "twin.testing.conformance.access_suspended",
    "twin.testing.conformance.forge",
    "twin.testing.conformance.forge_hooks",
    "twin.testing.conformance.forge_trouble",
    "twin.testing.conformance.provider",
    "twin.testing.conformance.provider_hooks",
    "twin.testing.conformance.rotation",
    "twin.testing.conformance.rotation_client",
    "twin.testing.conformance.store",
    "twin.testing.conformance.store_queue",
)
