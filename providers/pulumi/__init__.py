"""Provider `pulumi`: a team's own Pulumi programs as components."""

from providers.pulumi.provider import PulumiKind
from twin.ports.provider import ProviderKind

KIND: ProviderKind = PulumiKind()
