#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run_tests.py [--jobs N] BUILD [SUITE…]: runs the tests with Meson and counts single test cases.

Meson counts programs; people want cases. The cases come from the JUnit file that Meson merges from
GoogleTest's own results. A program that failed without a failing case (it crashed, hung or could not
start) counts as one failure more, so that nothing broken can look passed. The last line is
"N passed, N failed" (", N skipped" follows if there are any); the exit status is 1 on any failure
and when no test ran.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from collections import defaultdict


class Suite:
    """The cases of one test program, named as in meson.build."""

    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []


def introspect(build, what):
    told = subprocess.run(["meson", "introspect", what, build], check=True, capture_output=True,
                          text=True)
    return json.loads(told.stdout)


def choose(build, tests, suites):
    """Names of the tests that `suites` mean: a test's name, or a folder of tests/."""
    folder_of_target = {target["id"]: os.path.basename(os.path.dirname(target["defined_in"]))
                        for target in introspect(build, "--targets")}
    chosen = set()
    for suite in suites:
        found = {name for name, test in tests.items()
                 if name == suite or suite in (folder_of_target.get(i) for i in test["depends"])}
        if not found:
            print(f"no test suite or folder named {suite}; there are: {', '.join(sorted(tests))}",
                  file=sys.stderr)
            sys.exit(2)
        chosen |= found
    return sorted(chosen)


def build_programs(build, tests, jobs):
    """Builds the programs that the given tests run, and no others."""
    files = {target["id"]: target["filename"][0] for target in introspect(build, "--targets")}
    wanted = {os.path.relpath(files[i], build) for test in tests for i in test["depends"] if i in files}
    subprocess.run(["ninja", "-C", build, "-j", str(jobs), *sorted(wanted)], check=True,
                   stdout=sys.stderr)


def remove_stale_results(build, tests):
    """A program that crashes writes no result file, and Meson would read the previous run's."""
    stale = [result_file(build, test) for test in tests]
    stale += [os.path.join(build, "meson-logs", name) for name in ("testlog.json", "testlog.junit.xml")]
    for path in stale:
        if os.path.exists(path):
            os.remove(path)


def case_outcome(case):
    """("passed" | "failed" | "skipped", reason) of one <testcase>."""
    for tag in ("failure", "error"):
        found = case.find(tag)
        if found is not None:
            return "failed", (found.get("message") or found.text or "").strip()
    found = case.find("skipped")
    if found is not None:
        return "skipped", (found.get("message") or found.text or "").strip()
    if case.get("status") == "notrun":
        return "skipped", "disabled"
    return "passed", ""


def read_cases(path, project):
    """Suites by program name, from the merged JUnit file."""
    suites = defaultdict(Suite)
    if not os.path.exists(path):
        return suites
    for node in xml.parse(path).getroot().iter("testsuite"):
        parts = node.get("name").removeprefix(project + ".").split(".", 1)
        for case in node.findall("testcase"):
            # A GoogleTest suite is "project.program.TestSuite"; a plain program is one case of the
            # suite "project", with the program's name.
            plain = node.get("name") == project
            suite = suites[case.get("name") if plain else parts[0]]
            name = case.get("name") if plain else f"{case.get('classname')}.{case.get('name')}"
            outcome, reason = case_outcome(case)
            if outcome == "passed":
                suite.passed += 1
            else:
                getattr(suite, outcome).append((name, reason))
    return suites


def result_file(build, test):
    """Where a GoogleTest program writes its results under Meson."""
    return os.path.join(test["workdir"] or build, test["name"] + ".xml")


def add_broken_programs(path, build, tests, suites):
    """Adds programs that failed as a whole; returns how many programs ran.

    One that wrote no results crashed, hung or left early, whatever its exit status says.
    """
    programs = 0
    if not os.path.exists(path):
        return programs
    with open(path, encoding="utf-8") as log:
        runs = [json.loads(line) for line in log]
    for run in runs:
        programs += 1
        name = run["name"]
        test = tests[name]
        if test["protocol"] == "gtest" and not os.path.exists(result_file(build, test)):
            last = re.findall(r"\[ RUN +\] (\S+)", run.get("stdout") or "")
            why = (f"the program ended without results ({run['result']}, status "
                   f"{run.get('returncode')}, {run.get('duration', 0):.1f} s)")
            suites[name] = Suite()
            suites[name].failed.append((last[-1] if last else name, why))
        elif run["result"] not in ("OK", "EXPECTEDFAIL", "SKIP") and not suites[name].failed:
            suites[name].failed.append((name, f"the program ended with {run['result']}, status "
                                              f"{run.get('returncode')}"))
    return programs


def reason_of(text):
    """The first lines of a reason, on one line, without the source location in front."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and re.fullmatch(r"\S+:\d+", lines[0]):
        lines = lines[1:]
    return " ".join(lines[:3]) or "no reason given"


def report(suites):
    """Prints one line a suite, then what did not pass, grouped by the reason."""
    print()
    for name, suite in sorted(suites.items()):
        print(f"{name:20} {suite.passed:5} passed {len(suite.failed):4} failed "
              f"{len(suite.skipped):4} skipped")
    for title in ("skipped", "failed"):
        for name, suite in sorted(suites.items()):
            cases = defaultdict(list)
            for case, reason in getattr(suite, title):
                cases[reason_of(reason)].append(case)
            for reason, names in cases.items():
                print(f"{title}: {name}: {reason}")
                for case in names:
                    print(f"    {case}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("build")
    parser.add_argument("suites", nargs="*")
    options = parser.parse_args()

    # A changed meson.build may declare other tests.
    subprocess.run(["ninja", "-C", options.build, "build.ninja"], check=True, stdout=sys.stderr)
    tests = {test["name"]: test for test in introspect(options.build, "--tests")}
    names = choose(options.build, tests, options.suites) if options.suites else []
    chosen = [tests[name] for name in names or tests]
    if names:
        build_programs(options.build, chosen, options.jobs)
    remove_stale_results(options.build, chosen)
    # Slow machines and sanitizers may take longer; a hang is still found.
    ran = subprocess.run(["meson", "test", "-C", options.build, "--no-rebuild", "--print-errorlogs",
                          "--timeout-multiplier", "10", "--num-processes", str(options.jobs),
                          *names], check=False)

    logs = os.path.join(options.build, "meson-logs")
    suites = read_cases(os.path.join(logs, "testlog.junit.xml"), "fathom")
    programs = add_broken_programs(os.path.join(logs, "testlog.json"), options.build, tests, suites)
    if programs != len(chosen):
        suites["meson"].failed.append(("runner", f"{programs} of {len(chosen)} programs ran"))
    report(suites)

    passed = sum(suite.passed for suite in suites.values())
    failed = sum(len(suite.failed) for suite in suites.values())
    skipped = sum(len(suite.skipped) for suite in suites.values())
    if ran.returncode != 0 and failed == 0:
        print(f"failed: meson test ended with status {ran.returncode}")
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
