"""What people say to a twin in its random lives: good things and nonsense, but for what names something of the twin."""

from hypothesis import strategies as st

from twin.domain.environment import Seed
from twin.domain.signals.abandon import Abandon
from twin.domain.signals.acknowledge_credential import AcknowledgeCredential
from twin.domain.signals.add_component import AddComponent
from twin.domain.signals.add_members import AddMembers, NewMember
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.detect_drift import DetectDrift
from twin.domain.signals.extend import Extend
from twin.domain.signals.protect import Protect
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.remove_members import RemoveMembers
from twin.domain.signals.resume import Resume
from twin.domain.signals.retry import Retry
from twin.domain.signals.rotate_credentials import RotateCredentials
from twin.domain.signals.scale import Scale
from twin.domain.signals.suspend import Suspend
from twin.domain.signals.unprotect import Unprotect
from twin.domain.signals.update import Update
from twin.testing.blueprints import guestbook, guestbook_components, make_library

SEED = Seed(source="env_SOURCE", project="shop", name="prod", seq=9, mode="full", components={"db": "db@1"})
COMPONENTS = st.sampled_from(["db", "cache", "jobs", "app", "search", "nothing"])


def versions():
    first = guestbook_components()
    first["db"]["observe_every"] = "2h"
    first["cache"]["policy"] = {"attempts": 2, "within": "1h"}
    second = guestbook_components()
    del second["jobs"]
    second["app"]["needs"] = []
    second["search"] = {"type": "test.service", "needs": ["db"], "inputs": {"env": {"CACHE": "${cache.secrets.url}"}}}
    third = guestbook_components()
    third["db"]["inputs"]["connections"] = 20
    third["app"]["needs"] = ["jobs", "cache"]
    second["db"] |= {"rotate_every": "20d", "rotation": {"grace": "10m"}}
    third["db"]["rotation"] = {"acknowledge": True}
    return make_library(
        *(
            guestbook(f"{number}.0.0", components=components)
            for number, components in enumerate((first, second, third), start=1)
        )
    )


LIBRARY = versions()

SIGNALS = st.one_of(
    st.builds(Scale, component=COMPONENTS, to=st.builds(lambda n: {"replicas": n}, st.sampled_from([0, 1, 2, 4, 99]))),
    st.builds(Scale, component=st.just("db"), to=st.builds(lambda n: {"connections": n}, st.integers(10, 12))),
    st.builds(
        Update,
        blueprint=st.sampled_from([None, None, "guestbook@1.0.0", "guestbook@2.0.0", "guestbook@3.0.0", "other"]),
        inputs=st.dictionaries(
            st.sampled_from(["greeting", "engine", "zone", "region"]), st.sampled_from(["a", "b", None]), max_size=2
        ),
        allow_data_loss=st.booleans(),
    ),
    st.builds(Update, inputs=st.builds(lambda n: {"replicas": n}, st.integers(1, 3))),
    st.builds(Update, labels=st.just({"team": "red"})),
    st.builds(
        AddComponent,
        component=st.sampled_from(["search", "jobs", "cache"]),
        type=st.sampled_from(["test.service", "test.cache", "test.nothing"]),
        needs=st.sampled_from([(), ("db",), ("cache",)]),
    ),
    st.builds(RemoveComponent, component=COMPONENTS),
    st.builds(RotateCredentials, component=st.just("db"), grace=st.sampled_from([None, "0s", "0s", "5m", "soon"])),
    st.builds(AcknowledgeCredential, component=st.just("db"), version=st.integers(1, 4)),
    st.builds(
        AddMembers,
        members=st.builds(
            lambda name, role, until: (NewMember(name=name, role=role, until=until),),
            st.sampled_from(["ada", "bob"]),
            st.sampled_from(["viewer", "operator"]),
            st.sampled_from([None, "1h"]),
        ),
    ),
    st.builds(RemoveMembers, names=st.sampled_from([("ada",), ("bob",)])),
    st.builds(Suspend),
    st.builds(Resume),
    st.builds(Protect),
    st.builds(Unprotect),
    st.builds(Extend, ttl=st.sampled_from(["24h", "72h", "never", "yesterday"])),
    st.builds(Retry, component=st.none() | COMPONENTS),
    st.builds(DetectDrift, component=st.none() | COMPONENTS),
    st.builds(Abandon, component=COMPONENTS, reason=st.sampled_from(["the server burnt", ""])),
)


ENDS = st.one_of(st.builds(Destroy, force=st.booleans()), st.builds(Extend, ttl=st.just("1m")))
