"""What a run of s3-tests means: reports, the baseline, the gains, the exceptions, and the judgement over them."""

import pathlib
import sys
import tomllib
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
BASELINE = HERE / "baseline.txt"
GAINS = HERE / "gains.txt"
EXCEPTIONS = HERE / "exceptions.toml"


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


def exceptions(lane):
    """Test -> why it fails through Aqueduct, in the lane `plain` or `tls`."""
    reasons = {}
    for entry in tomllib.loads(EXCEPTIONS.read_text()).get("exception", []):
        if entry.get("only", lane) != lane:
            continue
        for test in entry["tests"]:
            if test in reasons:
                raise SystemExit(f"s3-tests: {test} stands twice in {EXCEPTIONS.name}")
            reasons[test] = entry["reason"]
    return reasons


def must_pass(test, lane):
    return test in baseline() | gains() and test not in exceptions(lane)


def judge(results, lane, whole):
    """Prints what is not as it should be; 0 where everything is."""
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
