#!/bin/bash
# Builds everything and runs every test. The last line says how many passed and how many failed.
set -uo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly PROJECT
RESULTS=$(mktemp -d)
readonly RESULTS
trap 'rm -rf "$RESULTS"' EXIT

usage() {
	cat <<-'END'
		usage: sudo tests/run.sh [--long] [--jobs N]

		Installs what is missing (packaging/install-dependencies.sh --tests), builds the project in build/dev and its unit tests
		with sanitizers in build/asan, and runs: kernel tests, the laboratory, and real machines with Debian 12 in
		containers; unit and architecture tests and the fuzzing corpora with sanitizers. Everything that touches a network
		runs in namespaces of its own.

		  --long     afterwards every case of the laboratory again, with more rounds and longer storms, and some more;
		             emulated machines with Debian's own kernels 6.1 and 6.12 (fetched once, kept in build/vm); machines
		             with both Debians, and the packages of both from a clean tree. Takes hours.
		  --jobs N   how many tests and compilers run at the same time (default: the number of processors)
	END
}

step() {
	printf '\n== %s (%d min %02d s)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
}

# One result that is no test of ctest: record NAME EXIT_STATUS
record() {
	echo "$2 $1" >>"$RESULTS/steps"
}

# Runs a step that must succeed; its failure counts as one failed test.
must() {
	local name=$1
	shift
	"$@" && return 0
	echo "run.sh: $name failed: $*" >&2
	record "$name" 1
	return 1
}

run_ctest() { # PRESET ctest-options…
	local preset=$1
	shift
	ctest --test-dir "$PROJECT/build/$preset" --parallel "$JOBS" --output-on-failure --no-tests=error \
		--output-junit "$RESULTS/$preset.xml" "$@"
	grep -qs '<testcase' "$RESULTS/$preset.xml" || record "ctest in build/$preset: no test ran" 1
}

# The programs of tests/unit, which only the build with sanitizers has; any other test that was not built has failed.
unit_tests() {
	sed -n 's/^killswitch_test(\([a-z_]*\) .*/\1/p' "$PROJECT/tests/unit/CMakeLists.txt" | paste -s -d '|'
}

run_long_cases() {
	local name
	for name in $(python3 "$PROJECT/tests/lab/run_case.py" --list | cut -d ' ' -f 1); do
		python3 "$PROJECT/tests/lab/run_case.py" "$name" --bin-dir "$PROJECT/build/dev/bin" --long
		record "lab, long: $name" $?
	done
	for name in 6.1 6.12; do
		python3 "$PROJECT/tests/vm/run_in_vm.py" --kernel "$name" --seconds 3600 -- \
			python3 "$PROJECT/tests/vm/suite.py" --bin-dir "$PROJECT/build/dev/bin" --long
		record "vm, long: $name" $?
	done
}

# Boots, crashes and packages with more rounds; the package of the other Debian with all that it can be tested with.
run_long_machines() {
	local release name status
	for release in bookworm trixie; do
		for name in $(python3 "$PROJECT/tests/machines/run_machine.py" --list | cut -d ' ' -f 1); do
			python3 "$PROJECT/tests/machines/run_machine.py" "$name" --release "$release" \
				--bin-dir "$PROJECT/build/dev/bin" --long
			record "machines, long: $name ($release)" $?
		done
		"$PROJECT/packaging/build-deb.sh" --release "$release" >"$RESULTS/package-$release.log" 2>&1
		status=$?
		[ "$status" -eq 0 ] || tail -n 50 "$RESULTS/package-$release.log"
		record "package of $release from a clean tree, with its unit tests" "$status"
	done
}

# Counts over all result files; a test that was skipped or could not run has not passed.
summary() {
	python3 - "$RESULTS" <<-'END'
		import sys
		import xml.etree.ElementTree as xml
		from pathlib import Path

		passed, failed = 0, []
		for file in Path(sys.argv[1]).glob("*.xml"):
		    for test in xml.parse(file).getroot().iter("testcase"):
		        if test.get("status") == "run":
		            passed += 1
		        else:
		            failed.append(f"{test.get('name')} ({file.stem}): {test.get('status')}")
		steps = Path(sys.argv[1]) / "steps"
		for line in steps.read_text().splitlines() if steps.exists() else []:
		    status, name = line.split(" ", 1)
		    if status == "0":
		        passed += 1
		    else:
		        failed.append(f"{name}: ended with {status}")
		for name in failed:
		    print("not passed:", name)
		print(f"{passed} passed, {len(failed)} failed")
		sys.exit(1 if failed or not passed else 0)
	END
}

run_all() {
	step "dependencies"
	must "installing dependencies" "$PROJECT/packaging/install-dependencies.sh" --tests || return
	step "build"
	must "building (dev)" "$PROJECT/packaging/build.sh" dev src/app/all packaging/all tests/bench/all tests/kernel/all \
		tests/lab/all tests/machines/all || return
	# The laboratory mostly waits: what it leaves of the processors goes to the build of the unit tests.
	nice -n 19 "$PROJECT/packaging/build.sh" asan tests/unit/all tests/fuzz/all >"$RESULTS/asan.log" 2>&1 &
	local building=$!
	step "kernel tests, laboratory, machines (meanwhile the unit tests are built, with sanitizers)"
	# Emulated kernels and the machines of the other Debian take long: they are for --long. Unit tests follow.
	run_ctest dev --label-exclude '^(bench|vm|long|unit)$' --exclude-regex "^($(unit_tests))_NOT_BUILT"
	step "end of the build with sanitizers"
	if ! wait "$building"; then
		tail -n 50 "$RESULTS/asan.log"
		must "building (asan)" false || return
	fi
	step "unit and architecture tests, corpora, with sanitizers"
	run_ctest asan --label-regex '^unit$'
	if [ "$LONG" = yes ]; then
		step "the laboratory, long"
		run_long_cases
		step "machines, long"
		run_long_machines
	fi
	step "done"
}

LONG=no
JOBS=$(nproc)
while [ $# -gt 0 ]; do
	case $1 in
	--long) LONG=yes ;;
	--jobs) JOBS=${2:?--jobs needs a number} && shift ;;
	-h | --help) usage && exit 0 ;;
	*)
		echo "run.sh: unknown option '$1'" >&2
		usage >&2
		exit 2
		;;
	esac
	shift
done
export JOBS
# Conditions of the laboratory are awaited twice as long as on a quiet machine: a busy one is no failure.
export LAB_PATIENCE=${LAB_PATIENCE:-2}
if [ "$(id -u)" -ne 0 ]; then
	echo "run.sh: the tests make network namespaces of their own, which needs root: sudo tests/run.sh" >&2
	exit 1
fi
run_all
summary
