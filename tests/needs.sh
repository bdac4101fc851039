# What test.sh and benches/peers.sh have in common: fetching what is needed from outside, and saying what cannot be had. To be
# sourced. Needs Debian's apt-get and dpkg for programs; no root.
#
#   MARIGRAM_TEST_CACHE      where the packages are kept   (default: ~/.cache/marigram-test)

cache="${MARIGRAM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/marigram-test}"
missing=()

miss() { missing+=("$*"); }
have() { command -v "$1" >/dev/null 2>&1; }

# apt-get with package lists of its own below the cache: for machines whose lists are empty, and for users who may not
# update them.
private_apt() {
    mkdir -p "$cache/apt/state/lists/partial" "$cache/apt/cache/archives/partial" || return 1
    apt-get -q -o Dir::State="$cache/apt/state" -o Dir::State::status=/var/lib/dpkg/status \
        -o Dir::Cache="$cache/apt/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}

# Downloads the package $1 into the current folder: with the machine's lists, else with lists of our own.
download() {
    apt-get -q -o APT::Sandbox::User="$(id -un)" download "$1" && return 0
    echo "trying again with package lists of our own"
    private_apt update # one source of several may fail; whether the package can be had decides
    private_apt download "$1"
}

# Unpacks the Debian package $1 into $cache/$1, unless that was done before.
unpacked() {
    [ -d "$cache/$1" ] && return 0
    have apt-get && have dpkg || { echo "apt-get and dpkg are needed to fetch Debian's $1" >&2; return 1; }
    mkdir -p "$cache" || return 1
    local work
    work="$(mktemp -d "$cache/unpack.XXXXXX")" || return 1
    if (cd "$work" && download "$1" && dpkg -x "$1"_*.deb root) >"$cache/$1.log" 2>&1; then
        # Moved whole, so that a half-done copy is never taken for a good one; another run may have been faster.
        mv -T "$work/root" "$cache/$1" 2>/dev/null || [ -d "$cache/$1" ]
        local result=$?
        rm -rf "$work"
        return $result
    fi
    rm -rf "$work"
    cat "$cache/$1.log" >&2
    return 1
}

# Sets the variable $1 to the binary $3 of the Debian package $2, unless it is set, and sees that it runs.
need_binary() {
    if [ -z "${!1:-}" ]; then
        unpacked "$2" && export "$1=$cache/$2/usr/bin/$3"
    fi
    if [ -z "${!1:-}" ]; then
        miss "$3 (Debian package $2 cannot be fetched; set $1 to use another)"
    elif ! "${!1}" --version >/dev/null 2>&1; then
        miss "$3 ($1=${!1} does not run)"
        unset "$1"
    else
        echo "$1=${!1}"
    fi
}

# Sets the variable $1 to the folder $2, unless it is set, and sees that it holds files named $3.
need_folder() {
    local folder="${!1:-$2}"
    if compgen -G "$folder/$3" >/dev/null; then
        folder="$(cd "$folder" && pwd)"
        export "$1=$folder"
        echo "$1=$folder"
    else
        miss "$4 (no $3 in $folder; set $1)"
        unset "$1"
    fi
}
