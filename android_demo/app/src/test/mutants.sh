#!/bin/sh
# Change the screen so that it is wrong, one change at a time, in a copy: the tests have to see each.
#
#     ./mutants.sh [-n] [NAME...]     all, or those alone; -n: only whether the changes can be made, in a second
set -eu
dry=
[ "${1-}" != -n ] || { dry=yes && shift; }
names=" $* "
cd "$(dirname "$0")/../../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir -p "$copy/tests/data"
cp -R ../docs "$copy/"
cp -R ../tests/data/job "$copy/tests/data/"
mkdir -p "$copy/android_demo/tools"
tar -cf - --exclude target . | tar -xf - -C "$copy/android_demo"
ln -s "$PWD/tools/target" "$copy/android_demo/tools/target"
cd "$copy/android_demo"
sources=app/src/main/kotlin/org/edgemoe/demo

# name, what, file, the text before, the text after, the tests
mutant() {
    case $names in "  " | *" $1 "*) ;; *) return 0 ;; esac
    shift
    ran=yes
    cp "$sources/$2" "$copy/whole"
    sed "s/$3/$4/" "$copy/whole" > "$sources/$2"
    ! cmp -s "$copy/whole" "$sources/$2" || { echo "$1: nothing was changed" >&2; exit 1; }
    if [ -n "$dry" ]; then
        cp "$copy/whole" "$sources/$2"
        echo "$1: can be made"
        return 0
    fi
    if ./mvn.sh --batch-mode -pl app -am test -Dtest="$5" -Dsurefire.failIfNoSpecifiedTests=false > "$copy/log" 2>&1; then
        echo "$1: no test sees it" >&2
        exit 1
    fi
    # A change that does not compile would prove nothing.
    grep -q 'Tests run: [1-9].*\(Failures\|Errors\): [1-9]' "$copy/log" || { tail -30 "$copy/log" >&2; exit 1; }
    echo "$1: seen"
    cp "$copy/whole" "$sources/$2"
}

mutant slider "the slider's listener does nothing" MainActivity.kt 'if (fromUser) act(progress)' 'if (fromUser) Unit' \
    'MainActivityTest#costs*'
mutant state "the state is not saved" MainActivity.kt 'outState.putDouble(TAU, screen.setting.tau)' 'outState.putBoolean(TAU, true)' \
    'MainActivityTest#what*'
mutant thread "the engine is called on the main thread" Demo.kt 'worker.execute {' 'main.execute {' 'MainActivityTest#costs*'
mutant verify "a bundle is not verified" Home.kt 'copied.verify()' 'copied.isHere(wanted[0])' 'TroubleTest#a?bundle?with?an?altered*'
[ -n "${ran-}" ] || { echo "there is no mutant '$*'; expected slider, state, thread, verify" >&2; exit 1; }
