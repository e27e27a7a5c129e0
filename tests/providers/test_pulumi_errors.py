"""The table from what Pulumi's CLI, engine and plugins say to what happens next."""

from __future__ import annotations

from typing import Any

import pytest

from providers.pulumi.errors import failure, no_result, translated
from twin.domain.errors import Blocked, StepFailure, Terminal, Transient

URN = "urn:pulumi:twin_e1_cloud_1::twin::aws:s3/bucket:Bucket::uploads"
PASSWORD = "hunter2-and-some-more"


def judged(*errors: str, said: str = "", reason: str = "engine", urn: str = URN, **report: Any) -> StepFailure:
    """What becomes of diagnostics of one resource, or of what the CLI said without any."""
    told = {"reason": reason, "said": said, "errors": [(urn, text) for text in errors], **report}
    return failure("pulumi/eu", "twin_e1_cloud_1", told, [PASSWORD])


def cli(stderr: str, code: int = 255) -> str:
    """How the Automation API tells of a command that failed."""
    return f"\n code: {code}\n stdout: Updating (twin_e1_cloud_1):\n\n stderr: {stderr}"


LOCKED = (
    "the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the lock file "
    "with `pulumi cancel`.\n  file:///var/lib/twin/state/.pulumi/locks/organization/twin/s/6f.json: created by "
    "twin@worker-1 (pid 4711) at 2026-03-01T10:00:00Z"
)


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("the lock of a backend of files", LOCKED),
        ("the lock of a service", "[409] Conflict: Another update is currently in progress."),
        ("AWS throttles", "ThrottlingException: Rate exceeded"),
        ("EC2 throttles", "api error RequestLimitExceeded: Request limit exceeded."),
        ("S3 throttles", "operation error S3: PutObject, api error SlowDown: Please reduce your request rate."),
        ("Google throttles", "googleapi: Error 429: Quota exceeded for quota metric 'Queries', rateLimitExceeded"),
        ("Azure throttles", 'autorest: StatusCode=429 -- Code="TooManyRequests" Message="Please retry after 11s"'),
        ("a host that is away", "dial tcp 10.0.0.1:443: connect: connection refused"),
        ("no name service", "dial tcp: lookup s3.eu-west-1.amazonaws.com: no such host"),
        ("boto3 without network", 'EndpointConnectionError: Could not connect to the endpoint URL: "http://a:1/"'),
        ("boto3 waits in vain", 'Read timeout on endpoint URL: "http://127.0.0.1:1/"'),
        ("Go waits in vain", "Post https://x: net/http: request canceled (Client.Timeout exceeded while awaiting)"),
        ("a plugin waits in vain", "rpc error: code = DeadlineExceeded desc = context deadline exceeded"),
        ("Python waits in vain", "TimeoutError: [Errno 110] Connection timed out"),
        ("a handshake", "net/http: TLS handshake timeout"),
        ("a server that ails", "operation error SQS, https response error StatusCode: 503, ServiceUnavailable"),
        ("PostgreSQL restarts", "pq: the database system is starting up"),
        ("a plugin that died", "error reading from server: EOF; transport is closing; unexpected EOF"),
        ("a plugin for want of memory", "plugin exited: signal: killed"),
    ],
)
def test_what_passes_by_itself_is_transient(why: str, text: str) -> None:
    told = judged(text)
    assert isinstance(told, Transient), why
    assert "uploads" in told.message, "the resource is named"
    assert isinstance(judged(said=cli(f"error: {text}")), Transient), f"{why}, without a diagnostic"


def test_a_cli_that_a_signal_ended_is_run_again_whatever_else_it_said() -> None:
    assert isinstance(judged("bucket name is not valid", said=cli("", code=-9)), Transient)
    assert isinstance(no_result("twin_e1_cloud_1", 137, ""), Transient)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("api error TooManyBuckets: You have attempted to create more buckets than allowed", "quota"),
        ("LimitExceeded: Cannot exceed quota for UsersPerAccount: 5000", "quota"),
        ("VcpuLimitExceeded: You have requested more vCPU capacity than your limit of 32 allows", "quota"),
        ("InsufficientInstanceCapacity: We currently do not have sufficient m5.large capacity", "quota"),
        ("googleapi: Error 403: Quota 'CPUS' exceeded. Limit: 24.0 in region europe-west1., quotaExceeded", "quota"),
        (
            "AccessDenied: User: arn:aws:iam::1:user/twin is not authorized to perform: s3:CreateBucket",
            "permission",
        ),
        ("An error occurred (AccessDeniedException) when calling the CreateQueue operation: no", "permission"),
        ("rpc error: code = PermissionDenied desc = The caller does not have permission_denied", "permission"),
        ('Code="AuthorizationFailed" Message="The client does not have authorization"', "permission"),
        ("googleapi: Error 403: Required 'compute.instances.create' permission, forbidden", "permission"),
        ("An error occurred (InvalidClientTokenId) when calling the GetUser operation: invalid", "credentials"),
        ("api error ExpiredToken: The provided token has expired.", "credentials"),
        ("NoCredentialsError: Unable to locate credentials", "credentials"),
        ("google: could not find default credentials. See https://cloud.google.com/docs", "credentials"),
        ('pq: password authentication failed for user "twin"', "credentials"),
        (
            "no resource plugin 'pulumi-resource-aws' found in the workspace at version v6.1.0 or on $PATH",
            "plugin",
        ),
        ("could not automatically download and install resource plugin 'aws' at version v6.1.0", "plugin"),
        ("failed to load plugin aws: no such file or directory", "plugin"),
        ("failed to load language plugin nodejs: could not read plugin", "language-nodejs"),
        ("could not find pulumi-language-python on the PATH", "language-python"),
        ("incorrect passphrase, please set PULUMI_CONFIG_PASSPHRASE to the correct passphrase", "passphrase"),
        ("write /tmp/x: no space left on device", "disk"),
    ],
)
def test_what_needs_the_platform_s_people_is_blocked_with_key_and_mend(text: str, reason: str) -> None:
    for told in (judged(text), judged(said=cli(f"error: {text}"))):
        assert isinstance(told, Blocked), told
        assert told.key == f"pulumi/eu/{reason}"
        assert told.owner == "platform"
        assert f"twin blocks resolve {told.key}" in told.mend
        assert text in told.message, "its own words"


def test_what_is_protected_waits_for_whoever_may_unprotect_it() -> None:
    told = judged('resource "uploads" cannot be deleted\nbecause it is protected. To unprotect the resource, run …')
    assert isinstance(told, Blocked)
    assert told.key == "pulumi/eu/protected-twin_e1_cloud_1", "its own: another stack's answer is none for this one"
    assert "pulumi state unprotect --all --yes --stack organization/twin/twin_e1_cloud_1" in told.mend


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("an API refuses an input", "InvalidBucketName: The specified bucket is not valid."),
        ("a dynamic provider refuses", "Exception calling application: no copies today"),
        ("a type", "aws:s3/bucket:Bucket resource 'uploads' has a problem: Invalid or unknown key. Examine values"),
        ("a number that is not `429`", "InvalidParameter: port 4290 is not allowed"),
        ("an input named timeout", "aws:lambda:Function resource has a problem: expected timeout to be in (1 - 900)"),
        ("an input named visibility_timeout", "InvalidAttributeValue: Invalid value for visibility_timeout."),
        ("an error's number that looks like a signal's", "rpc error code: -32602, invalid params"),
    ],
)
def test_what_the_program_or_its_inputs_are_to_blame_for_is_terminal(why: str, text: str) -> None:
    told = judged("update failed", text, said=cli("error: update failed"))
    assert isinstance(told, Terminal), why
    assert told.field == "program"
    assert text.removeprefix("Exception calling application: ") in told.message, "the diagnostic's own words"
    assert "uploads" in told.message, "the failing resource by name"
    assert "aws:s3/bucket:Bucket" in told.message, "and by type"
    assert "update failed" not in told.message, "and not the engine's noise"


TRACEBACK = """Program failed with an unhandled exception:
Traceback (most recent call last):
  File "bundle/uploads/stack.py", line 12, in main
    queue(**settings)
"""


@pytest.mark.parametrize(
    "last",
    [
        "TypeError: queue() got an unexpected keyword argument 'connection_timeout'",
        "ValueError: a quota of at least 1 is needed, connect timeout 0",
        "ModuleNotFoundError: No module named 'forbidden'",
        "AttributeError: module 'throttling' has no attribute 'Rate'",
        "SyntaxError: '(' was never closed",
        "pulumi.config.ConfigMissingError: Missing required configuration variable 'twin:quota'",
    ],
)
def test_a_program_that_trips_over_itself_is_terminal_whatever_words_it_uses(last: str) -> None:
    stack = "urn:pulumi:twin_e1_cloud_1::twin::pulumi:pulumi:Stack::twin-twin_e1_cloud_1"
    told = judged(TRACEBACK + last, urn=stack)
    assert isinstance(told, Terminal)
    assert last in told.message


def test_a_program_that_reaches_no_cloud_is_not_to_blame() -> None:
    first = "KeyError: 'client'\n\nDuring handling of the above exception, another exception occurred:\n"
    last = 'botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL: "http://127.0.0.1:1/"'
    assert isinstance(judged(TRACEBACK + first + last), Transient)
    assert isinstance(judged(reason="raised", said=TRACEBACK + first + last), Transient), "nor is a `check`"
    told = judged(reason="raised", said=TRACEBACK + "TypeError: check() takes 0 positional arguments but 1 was given")
    assert isinstance(told, Terminal)
    disk = judged(reason="raised", said=TRACEBACK + "OSError: [Errno 28] No space left on device: 'Pulumi.s.yaml'")
    assert isinstance(disk, Blocked)
    assert disk.key == "pulumi/eu/disk"


def test_a_long_traceback_keeps_its_end() -> None:
    told = judged(TRACEBACK + '  File "bundle/uploads/stack.py", line 1, in again\n' * 200 + "RuntimeError: the reason")
    assert "RuntimeError: the reason" in told.message
    assert len(told.message) < 2500


@pytest.mark.parametrize(
    "told",
    [
        judged(f"InvalidParameter: {PASSWORD} is no port"),
        judged(f"AccessDenied for {PASSWORD}"),
        judged(f"connection refused: postgres://u:{PASSWORD}@h/"),
        judged(said=cli(f"error: {PASSWORD}")),
        judged(reason="raised", said=f"RuntimeError: {PASSWORD}"),
        judged(reason="program", said=f"The bundle has no module {PASSWORD!r}."),
        judged(reason="questions", questions=[{"urn": URN, "type": "t", "inputs": {"p": PASSWORD}, "why": "none"}]),
        judged(reason="leftovers", left=[{"name": "uploads", "type": "t", "id": PASSWORD}]),
    ],
)
def test_secrets_are_hidden(told: StepFailure) -> None:
    assert PASSWORD not in repr(told) + told.message + str(getattr(told, "mend", ""))
    assert "•••" in told.message


def asked(why: str) -> StepFailure:
    """A pending create whose lookup ended like this."""
    question = {"urn": URN, "type": "aws:s3/bucket:Bucket", "inputs": {"bucket": "b"}, "why": why}
    return judged(reason="questions", questions=[question])


def test_what_nobody_can_tell_is_the_exact_question() -> None:
    told = asked("neither its provider nor the bundle can look it up")
    assert isinstance(told, Blocked)
    assert told.key == "pulumi/eu/pending-twin_e1_cloud_1"
    assert "does uploads (aws:s3/bucket:Bucket) with {'bucket': 'b'} exist?" in told.message
    assert "answers/twin_e1_cloud_1.json" in told.mend
    several = asked("the bundle's lookup failed: uploads stands 2 times")
    assert isinstance(several, Blocked)
    assert several.key == "pulumi/eu/pending-twin_e1_cloud_1"


def test_a_lookup_that_could_not_be_made_asks_no_human() -> None:
    assert isinstance(asked("the bundle's lookup failed: Could not connect to the endpoint URL"), Transient)
    refused = asked("its provider's lookup failed: An error occurred (InvalidClientTokenId) when calling")
    assert isinstance(refused, Blocked)
    assert refused.key == "pulumi/eu/credentials"


def test_leftovers_are_named_with_the_way_to_remove_them() -> None:
    told = judged(reason="leftovers", left=[{"name": "uploads", "type": "aws:s3/bucket:Bucket", "id": "b-1"}])
    assert isinstance(told, Blocked)
    assert "uploads (aws:s3/bucket:Bucket, id b-1)" in told.message
    assert told.mend.startswith("Remove them")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(13, "Permission denied", "/var/lib/twin"), "pulumi/eu/directory"),
        (OSError(28, "No space left on device", "/var/lib/twin"), "pulumi/eu/disk"),
        (OSError(5, "Input/output error", "/var/lib/twin"), None),
    ],
)
def test_errors_of_our_own_files_are_failures_too(error: OSError, expected: str | None) -> None:
    with pytest.raises(StepFailure) as caught, translated("pulumi/eu"):
        raise error
    if expected is None:
        assert isinstance(caught.value, Transient)
    else:
        assert isinstance(caught.value, Blocked)
        assert caught.value.key == expected
