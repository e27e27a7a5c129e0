"""Provider `process`: services as processes on the twin's machine."""

from providers.process.provider import ProcessKind
from twin.ports.provider import ProviderKind

KIND: ProviderKind = ProcessKind()
