"""What is served, how it is declared, and what the module's types promise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from examples.web.server import POLICY
from examples.web.site import HERE

ROOT = HERE.parent.parent


def test_the_policy_of_the_page_is_the_servers() -> None:
    html = (HERE / "index.html").read_text(encoding="utf-8")
    (meta,) = re.findall(r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"', html)
    assert f"{meta}; frame-ancestors 'none'" == POLICY


def test_the_page_holds_no_inline_code_and_no_other_address() -> None:
    for path in HERE.iterdir():
        if path.suffix in {".html", ".js", ".css", ".webmanifest"}:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\sstyle=|\son[a-z]+=\"|javascript:|eval\(", text), path
            assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg"}, path


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert not [name for name, entry in packages.items() if "resolved" in entry]
    assert all(name == "" or entry["integrity"].startswith("sha512-") for name, entry in packages.items())


@pytest.mark.parametrize("path", ["setup.cfg", "../setup.cfg", "%2e%2e/setup.cfg", "node_modules/"])
def test_only_the_pages_files_are_served(address: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as error:
        urllib.request.urlopen(address + path)
    error.value.close()


def test_every_file_comes_with_the_policy_and_its_type(address: str, site) -> None:
    for name in site.files:
        with urllib.request.urlopen(urllib.request.Request(address + name, method="HEAD")) as answer:
            assert answer.headers["Content-Security-Policy"] == POLICY
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert int(answer.headers["Content-Length"]) == len(site.files[name])


def test_the_command_prints_an_address(site) -> None:
    command = [sys.executable, "-m", "examples.web", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            address = re.match(r"http://localhost:\d+/", line)
            assert address, line
            with urllib.request.urlopen(address[0]) as answer:
                assert b"Same person?" in answer.read()
        finally:
            process.terminate()


def test_a_missing_model_is_one_line(tmp_path: Path, site) -> None:
    command = [sys.executable, "-m", "examples.web", "--embedder", "nobody", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "nobody" in done.stderr


def test_the_types_fit_the_module(tmp_path: Path) -> None:
    """TypeScript accepts a typical app, and every export has a type."""
    compiler = HERE / "node_modules" / "typescript" / "bin" / "tsc"
    if not compiler.is_file() or shutil.which("node") is None:
        pytest.skip("needs TypeScript: npm ci in examples/web")
    app = Path(__file__).with_name("app.ts").read_text(encoding="utf-8")
    app = app.replace("POCKETFACE", (HERE / "pocketface.js").as_posix())
    (tmp_path / "app.ts").write_text(app, encoding="utf-8")
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"]
    done = subprocess.run(
        ["node", str(compiler), *options, str(tmp_path / "app.ts")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    module = (HERE / "pocketface.js").read_text(encoding="utf-8")
    types = (HERE / "pocketface.d.ts").read_text(encoding="utf-8")
    exported = re.findall(r"^export (?:async )?(?:class|function|const) (\w+)", module, re.MULTILINE)
    for names in re.findall(r"^export \{ (.+) \} from", module, re.MULTILINE):
        exported += names.split(", ")
    declared = re.findall(r"^export (?:declare )?(?:class|function|const) (\w+)", types, re.MULTILINE)
    assert sorted(exported) == sorted(declared)
