"""What a run of s3-tests means: reports, the baseline, the gains, the exceptions, and the judgement over them."""

import pathlib
import sys
import tomllib
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
BASELINE = HERE / "baseline.txt"
GAINS = HERE / "gains.txt"
EXCEPTIONS = HERE / "exceptions.toml"
CLOUDS = HERE / "clouds.toml"
# Lanes whose store speaks another protocol: there is no baseline, but a list of what fails.
CLOUD_LANES = ("azurite", "gcs")


def read_report(path):
    """Test -> passed, failed or skipped. A test whose set-up or clean-up broke has failed."""
    results = {}
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        test = case.get("classname").rsplit(".", 1)[-1] + ".py::" + case.get("name")
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        # A test may be reported twice: once for itself, once for its clean-up.
        if results.get(test) != "failed":
            results[test] = outcome
    return results


def names_in(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return {line for line in lines if line and not line.startswith("#")}


def baseline():
    """The tests that pass on SeaweedFS alone."""
    return names_in(BASELINE)


def gains():
    """The tests that pass through Aqueduct and not on SeaweedFS alone, since Aqueduct answers them as S3 does."""
    return names_in(GAINS)


def commit_of_baseline():
    lines = BASELINE.read_text().splitlines() if BASELINE.exists() else []
    return next((line.split()[-1] for line in lines if line.startswith("# suite ")), "main")


def write_baseline(results, commit, version):
    passed = sorted(test for test, outcome in results.items() if outcome == "passed")
    head = f"# Tests that pass on SeaweedFS alone; written by `tests/s3-tests/run --direct`.\n" \
           f"# suite ceph/s3-tests {commit}\n# store SeaweedFS {version}\n# {len(passed)} of {len(results)} tests\n\n"
    BASELINE.write_text(head + "\n".join(passed) + "\n")


def reasons(path, table, lane):
    """Test -> why it fails in this lane."""
    found = {}
    for entry in tomllib.loads(path.read_text()).get(table, []):
        if entry.get("only", lane) != lane:
            continue
        for test in entry["tests"]:
            if test in found:
                raise SystemExit(f"s3-tests: {test} stands twice in {path.name}")
            found[test] = entry["reason"]
    return found


def exceptions(lane):
    """Test -> why it fails through Aqueduct and not on SeaweedFS alone, in the lane `plain` or `tls`."""
    return reasons(EXCEPTIONS, "exception", lane)


def expected(lane):
    """Test -> why it fails over a cloud."""
    return reasons(CLOUDS, "expected", lane)


def must_pass(test, lane):
    if lane in CLOUD_LANES:
        return test not in expected(lane)
    return test in baseline() | gains() and test not in exceptions(lane)


def judge_cloud(results, lane, whole):
    """Prints what is not as it should be; 0 where everything is."""
    excused, faults = expected(lane), []
    for test, outcome in sorted(results.items()):
        if outcome == "failed" and test not in excused:
            faults.append(f"{test}: failed, and is not expected to")
        if outcome == "passed" and test in excused:
            faults.append(f"{test} passes, but is expected to fail: remove it")
    passed = list(results.values()).count("passed")
    target = tomllib.loads(CLOUDS.read_text())["passes"][lane]
    if whole:
        faults += [f"{test} is expected to fail, but is missing from the run" for test in sorted(excused.keys() - results.keys())]
        if passed < target:
            faults.append(f"{passed} pass, {target} should")
    for fault in faults:
        print(f"FAIL {fault}")
    print(f"{passed} of {len(results)} pass, {target} should at least; {len(excused.keys() & results.keys())} are expected"
          f" to fail; {len(faults)} faults", flush=True)
    return 1 if faults else 0


def judge(results, lane, whole):
    """Prints what is not as it should be; 0 where everything is."""
    if lane in CLOUD_LANES:
        return judge_cloud(results, lane, whole)
    alone, gained, excused = baseline(), gains(), exceptions(lane)
    expected, faults = alone | gained, [f"{test} is a gain and stands in the baseline" for test in sorted(alone & gained)]
    considered = expected | set(excused) if whole else (expected | set(excused)) & set(results)
    for test in sorted(considered):
        outcome = results.get(test, "missing from the run")
        if test not in expected:
            faults.append(f"{test} is an exception, but passes nowhere: remove it")
        elif test in excused and outcome == "passed":
            faults.append(f"{test} passes, but is an exception: remove it")
        elif test not in excused and outcome != "passed":
            faults.append(f"{test}: {outcome}, passes {'on SeaweedFS alone' if test in alone else 'as a rule'}")
    better = sorted(test for test, outcome in results.items() if outcome == "passed" and test not in expected)
    for test in better:
        print(f"better {test}: passes and is no gain yet")
    for fault in faults:
        print(f"FAIL {fault}")
    must = len(considered & expected - excused.keys())
    print(f"{must} must pass ({len(considered & gained)} of them fail on SeaweedFS alone), {len(considered & excused.keys())} "
          f"exceptions, {len(better)} better; {len(faults)} faults", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    # Judges a report again, after the lists were edited: verdict.py LANE REPORT...
    merged = {}
    for name in sys.argv[2:]:
        merged |= read_report(name)
    sys.exit(judge(merged, sys.argv[1], whole=True))
