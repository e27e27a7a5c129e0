"""Provider `pulumi`: a team's own Pulumi programs as components."""

from importlib.util import find_spec

from providers.pulumi.provider import PulumiKind
from twin.ports.provider import ProviderKind

if find_spec("pulumi") is None:  # looked for and not imported: only the child needs it, and it takes half a second
    raise ModuleNotFoundError("Pulumi's SDK is not installed", name="pulumi")

KIND: ProviderKind = PulumiKind()
