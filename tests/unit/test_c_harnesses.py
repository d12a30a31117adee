"""The KUnit and the ATF form compile against stubs of their headers, and fail and pass there as the plain form does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from coalloc.native import FOLDER
from coalloc.testing import Subject
from coalloc.testing.c_form import Harness, as_c
from coalloc.testing.directed import run_thoroughly
from coalloc.testing.programs import Counterexample
from coalloc.testing.targets import find_target
from tests.unit.c_allocators import FULL, changed
from tests.unit.test_c_form import FAULTS, steps

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
STUBS = {
    Harness.KUNIT: {
        "kunit/test.h": """#include <stdio.h>
struct kunit { int failed; };
struct kunit_case { void (*run)(struct kunit *); };
struct kunit_suite { const char *name; struct kunit_case *test_cases; };
#define KUNIT_CASE(f) { f }
#define kunit_info(test, ...) ((void)(test), (void)printf(__VA_ARGS__))
#define KUNIT_FAIL(test, ...) do { (test)->failed = 1; printf(__VA_ARGS__); } while (0)
#define MODULE_LICENSE(text) struct semicolon
#define kunit_test_suite(suite) \\
    int main(void) { struct kunit t = { 0 }; (suite).test_cases->run(&t); return t.failed; } \\
    struct semicolon
""",
        "linux/string.h": "#include <string.h>\n",
    },
    Harness.ATF: {
        "atf-c.h": """#include <stdio.h>
typedef int atf_error_t;
static int atf_failed;
#define ATF_TC_WITHOUT_HEAD(n) struct n##_semicolon
#define ATF_TC_BODY(n, tc) static void n##_body(void)
#define ATF_TP_ADD_TC(tp, n) n##_body()
#define ATF_TP_ADD_TCS(tp) static int all(void); int main(void) { all(); return atf_failed; } static int all(void)
#define atf_no_error() 0
#define atf_tc_fail_nonfatal(...) (atf_failed = 1, (void)printf(__VA_ARGS__))
""",
    },
}  # fmt: skip


@pytest.mark.parametrize("harness", STUBS)
def test_the_form_of_a_harness_compiles_fails_and_passes(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It fails with the faulty allocator, and passes with the right one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COALLOC_BUILD_DIR", str(tmp_path_factory.getbasetemp() / "built"))
    for name, text in STUBS[harness].items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    old, new, text, _ = FAULTS["place"]
    Path("mine.c").write_text(changed(FULL, old, new), encoding="utf-8")
    Path("right.c").write_text(FULL, encoding="utf-8")
    subject = Subject(find_target("mine.c"))
    breach = run_thoroughly(subject, steps(text))
    assert breach is not None
    code = as_c("mine.c", subject, Counterexample(steps(text), breach), harness)
    Path("it.c").write_text(code, encoding="utf-8")
    for allocator, status in (("mine.c", 1), ("right.c", 0)):
        subprocess.run(["cc", "-I.", f"-I{FOLDER}", "it.c", allocator, "-o", "it"], check=True)
        assert subprocess.run(["./it"], capture_output=True, check=False).returncode == status
