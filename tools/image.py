"""image.py ROOT: put the container image's files into an empty folder; what runs this is the Python that goes in.

The image is this interpreter, the locked packages, the server, and the shared libraries that they need: no shell, no
package manager, no compiler. Dockerfile copies the folder onto an empty image, tests/deploy starts it with runc.
The last step, setcap(8), needs root.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parents[1]
HOME = Path("opt/kubedns")
LIBRARY = f"python{sys.version_info.major}.{sys.version_info.minor}"
# Parts of the standard library that no server needs: tests, windows, installers, and pip's own environment.
LEFT_OUT = ("__pycache__", "EXTERNALLY-MANAGED", "config-*", "dist-packages", "ensurepip", "idlelib", "lib2to3",
            "site-packages", "test", "tests", "tkinter", "turtledemo", "_test*", "_ctypes_test*", "_tkinter*",
            "xxlimited*")  # fmt: skip
FILES = {
    "etc/passwd": "root:x:0:0:root:/:/sbin/nologin\nkubedns:x:65532:65532:kubedns:/:/sbin/nologin\n",
    "etc/group": "root:x:0:\nkubedns:x:65532:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
AUTHORITIES = Path("etc/ssl/certs/ca-certificates.crt")


def main(root: Path) -> None:
    """Make the image's files below ROOT, which must be empty or not there yet."""
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        sys.exit(f"{root} is not empty")
    home = root / HOME
    interpreter = copy_python(home)
    install(interpreter)
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if (Path("/") / AUTHORITIES).exists():
        (root / AUTHORITIES).parent.mkdir(parents=True)
        shutil.copy(Path("/") / AUTHORITIES, root / AUTHORITIES)
    copy_libraries(root, home)
    compile_all(root, home)
    # On the file itself: behind a shell, or through a link of its own, the capability would not come to bear.
    run("setcap", "cap_net_bind_service=+ep", str(interpreter))


def copy_python(home: Path) -> Path:
    """Copy interpreter and standard library, which finds itself by where the interpreter is; return the interpreter."""
    interpreter = home / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), interpreter)
    library = home / "lib" / LIBRARY
    shutil.copytree(sysconfig.get_path("stdlib"), library, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shared = Path(sysconfig.get_config_var("LIBDIR")) / str(sysconfig.get_config_var("INSTSONAME"))
    if shared.suffix != ".a" and shared.exists():
        shutil.copy(shared, home / "lib")
    (library / "site-packages").mkdir()
    return interpreter


def install(interpreter: Path) -> None:
    """Install the locked packages and the server, as wheels, into the copy; the build's own tools stay outside."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    into = (*pip, "--python", str(interpreter), "install", "--quiet", "--no-compile", "--no-warn-script-location")
    run(*into, "--require-hashes", "--requirement", str(SOURCE / "requirements" / "run.txt"))
    with tempfile.TemporaryDirectory() as wheels:
        run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, str(SOURCE))
        run(*into, "--no-deps", *map(str, Path(wheels).glob("*.whl")))
    for script in interpreter.parent.iterdir():
        if script != interpreter:
            script.unlink()


def copy_libraries(root: Path, home: Path) -> None:
    """Copy what the loader finds outside of `home`, and write the cache by which it finds all of it again.

    A program with a capability is started in secure mode, in which paths relative to it count for nothing (ld.so(8)).
    """
    folders = {f"/{HOME / 'lib'}"}
    for binary in sorted(binaries(home)):
        for place in map(Path, re.findall(r"(?:=> |^\s*)(/\S+) \(0x", run("ldd", str(binary)), re.MULTILINE)):
            target = root / place.relative_to("/")
            if not target.exists() and home not in place.parents and not (home / "lib" / place.name).exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(place, target)
                folders.add(str(place.parent))
    (root / "etc" / "ld.so.conf").write_text("".join(f"{folder}\n" for folder in sorted(folders)))
    run("ldconfig", "-r", str(root))


def binaries(home: Path) -> Iterator[Path]:
    """Yield all that is in ELF."""
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink() and (path.name == "python" or ".so" in path.suffixes):
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def compile_all(root: Path, home: Path) -> None:
    """Compile ahead: nothing can be written later. What is compiled is never compared with its source again."""
    for old in home.rglob("__pycache__"):
        shutil.rmtree(old)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    done = compileall.compile_dir(  # Debian's Python has its packages beside `lib`
        home, quiet=1, workers=0, stripdir=str(root), prependdir="/", invalidation_mode=mode
    )
    if not done:
        sys.exit("not all could be compiled")


def run(*command: str) -> str:
    """Return what a command prints; end with what it complains of if it fails."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "PATH": path})
    if done.returncode and command[0] != "ldd":  # a library that is linked statically is none of its business
        sys.exit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
