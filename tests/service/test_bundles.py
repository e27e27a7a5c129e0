"""Bundles: the same folder is the same bundle, and what arrives is not believed."""

import gzip
import io
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.domain.errors import Invalid
from twin.service.bundles import MOST_FILES, open_bundle, pack

BLUEPRINT = (
    "apiVersion: twin/v1\nkind: Blueprint\nmetadata: {name: guestbook, version: 1.0.0}\n"
    "components: {db: {type: postgres.database}}\n"
)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "guestbook"
    write(root, {"blueprint.yaml": BLUEPRINT, "app/app.py": "print('hello')", "app/run.sh": "exec python app.py"})
    (root / "app" / "run.sh").chmod(0o755)
    return root


def write(root, files):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def paths(bundle):
    return [each.path for each in bundle.files]


def packed(*members, blueprint=BLUEPRINT):
    """A tar.gz as somebody else could make it: members are (TarInfo or name, content)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for member, content in [("blueprint.yaml", blueprint.encode()), *members]:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def of_type(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_a_folder_comes_out_as_it_went_in(folder):
    bundle = pack(folder)
    assert paths(bundle) == ["app/app.py", "app/run.sh", "blueprint.yaml"]
    assert [oct(each.mode) for each in bundle.files] == ["0o644", "0o755", "0o644"]
    assert bundle.blueprint.name == "guestbook"
    assert open_bundle(bundle.content) == bundle


def test_the_same_folder_is_the_same_bundle(folder, tmp_path):
    first = pack(folder)
    other = tmp_path / "elsewhere"
    write(other, {"app/run.sh": "exec python app.py", "blueprint.yaml": BLUEPRINT, "app/app.py": "print('hello')"})
    (other / "app" / "run.sh").chmod(0o700)
    os.utime(other / "app" / "app.py", (1, 1))
    assert pack(other) == first, "neither time, owner, order nor place count"


@pytest.mark.parametrize("change", ["content", "path", "mode"])
def test_any_change_changes_the_digest(folder, change):
    first = pack(folder).digest
    match change:
        case "content":
            (folder / "app" / "app.py").write_text("print('hullo')")
        case "path":
            (folder / "app" / "app.py").rename(folder / "app" / "main.py")
        case "mode":
            (folder / "app" / "app.py").chmod(0o755)
    assert pack(folder).digest != first


def test_the_digest_is_of_the_files_and_not_of_the_packing(folder):
    assert open_bundle(packed()).digest == open_bundle(gzip.compress(gzip.decompress(packed()), 1)).digest


def test_what_is_ignored_stays_out(folder):
    write(
        folder,
        {
            ".git/config": "x",
            ".venv/x": "x",
            "app/__pycache__/app.pyc": "x",
            ".twinignore": "*.log\n!keep.log\n/build/\n",
            "a.log": "x",
            "keep.log": "x",
            "build/x": "x",
            "app/build/x": "kept: the pattern is anchored",
        },
    )
    assert paths(pack(folder)) == [
        ".twinignore",
        "app/app.py",
        "app/build/x",
        "app/run.sh",
        "blueprint.yaml",
        "keep.log",
    ]


def test_a_link_within_the_folder_is_its_file(folder):
    (folder / "main.py").symlink_to("app/app.py")
    (main,) = [each for each in pack(folder).files if each.path == "main.py"]
    assert main.size == len("print('hello')")


@pytest.mark.parametrize(
    ("target", "telling"),
    [("/etc/passwd", "leaves the folder"), ("../secret", "leaves the folder"), ("app", "no file"), ("none", "no file")],
)
def test_other_links_are_refused(folder, target, telling):
    (folder.parent / "secret").write_text("x")
    (folder / "link").symlink_to(target)
    with pytest.raises(Invalid, match=telling) as caught:
        pack(folder)
    assert caught.value.field == "link"


def test_what_is_no_file_is_refused(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(Invalid, match="pipe is not a plain file"):
        pack(folder)


def test_a_folder_without_blueprint_says_where_it_looked(tmp_path):
    with pytest.raises(Invalid, match=r"has no blueprint\.yaml"):
        pack(tmp_path)
    with pytest.raises(Invalid, match="is not a folder"):
        pack(tmp_path / "missing")


def test_too_much_names_the_biggest_files(folder):
    (folder / "data.bin").write_bytes(b"x" * 30_000)
    with pytest.raises(Invalid, match=r"maximum is 20 KiB. Biggest: data\.bin \(29 KiB\)") as caught:
        pack(folder, most=20_480)
    assert ".twinignore" in (caught.value.mend or "")
    bundle = pack(folder)
    with pytest.raises(Invalid, match="more than 20 KiB"):
        open_bundle(bundle.content, most=20_480)


def test_a_wrong_blueprint_is_pointed_at(folder):
    (folder / "blueprint.yaml").write_text(BLUEPRINT.replace("type", "tpye"))
    with pytest.raises(Invalid, match=r"guestbook/blueprint\.yaml:4:19: components\.db\.tpye"):
        pack(folder)
    with pytest.raises(Invalid, match=r"^blueprint\.yaml:4:19: components\.db\.tpye"):
        open_bundle(packed(blueprint=BLUEPRINT.replace("type", "tpye")))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (packed(("../evil", b"x")), "leaves the folder"),
        (packed(("/etc/evil", b"x")), "absolute"),
        (packed(("a/../../evil", b"x")), "leaves the folder in the middle"),
        (packed(("./a", b"x")), "two ways to write one path"),
        (packed(("a//b", b"x")), "two ways to write one path"),
        (packed(("a\nb", b"x")), "a line end would hide in logs"),
        (packed(("a" * 600, b"x")), "too long"),
        (packed(("a", b"1"), ("a", b"2")), "twice"),
        (packed(("a", b"1"), ("a/b", b"2")), "a file and a folder"),
        (packed((of_type("link", tarfile.SYMTYPE, "/etc/passwd"), b"")), "a link"),
        (packed((of_type("link", tarfile.LNKTYPE, "blueprint.yaml"), b"")), "a hard link"),
        (packed((of_type("dev", tarfile.CHRTYPE), b"")), "a device"),
        (packed((of_type("pipe", tarfile.FIFOTYPE), b"")), "a pipe"),
        (packed((of_type("sparse", tarfile.GNUTYPE_SPARSE), b"")), "sparse"),
        (packed()[:-9], "cut short"),
        (packed() + packed(), "two in one"),
        (b"", "nothing"),
        (b"PK\x03\x04", "a zip"),
        (gzip.compress(b"x" * 2_000), "no tar"),
        (gzip.compress(b""), "an empty file"),
    ],
)
def test_what_arrives_is_not_believed(content, reason):
    with pytest.raises(Invalid) as caught:
        pytest.fail(f"{reason}: {paths(open_bundle(content))}")
    assert caught.value.mend


def test_a_bomb_does_not_go_off():
    bomb = gzip.compress(bytes(200 * 1024 * 1024), 9)
    assert len(bomb) < 250_000
    with pytest.raises(Invalid, match="unpacks to more than"):
        open_bundle(bomb, most=1024 * 1024)


def test_too_many_files_are_refused():
    with pytest.raises(Invalid, match=f"maximum is {MOST_FILES}"):
        open_bundle(packed(*((f"f{n}", b"") for n in range(MOST_FILES + 1))))


@settings(max_examples=50)
@given(st.integers(0, 4_000), st.binary(min_size=1, max_size=12))
def test_no_bytes_break_the_reader(position, noise):
    plain = bytearray(gzip.decompress(packed(("a", b"x" * 700))))
    plain[position : position + len(noise)] = noise
    try:
        bundle = open_bundle(gzip.compress(bytes(plain), 1))
    except Invalid:
        return
    assert open_bundle(bundle.content) == bundle
