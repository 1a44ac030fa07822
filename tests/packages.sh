#!/bin/sh
# What the build and the tests need from Debian. Sourced by tests/run.sh and mpi/quickstart.sh.
#
# install_packages build|test: installs what is missing, says so first, and does nothing where all is there.

packages_build="gcc g++ cmake make pkg-config openmpi-bin libopenmpi-dev libhdf5-dev libdnnl-dev
 libopenblas-dev libssl-dev zlib1g-dev libyaml-dev libjansson-dev librandom123-dev libpng-dev
 libjpeg62-turbo-dev"
packages_test="$packages_build libcunit1-dev python3 python3-h5py python3-numpy python3-pil python3-yaml git
 clang-format-14 clang-tidy-14 mandoc valgrind"

install_packages() {
    case $1 in
    build) wanted=$packages_build ;;
    *) wanted=$packages_test ;;
    esac
    missing=
    for package in $wanted; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "${no_install:-0}" = 1 ]; then
        echo "missing packages (--no-install, so nothing is installed):$missing" >&2
        return 0
    fi
    if [ "$(id -u)" != 0 ]; then
        echo "missing packages; as root: apt-get install$missing" >&2
        return 1
    fi
    echo "installing from Debian:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # A package that this release lacks (clang 14 after bookworm) only costs the check that uses it.
    available=
    for package in $missing; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            available="$available $package"
        else
            echo "not in this release: $package"
        fi
    done
    # shellcheck disable=SC2086 # the list is words
    apt-get install -y -qq --no-install-recommends $available >/dev/null
}

# Settings under which Open MPI 4 and 5 run more ranks than cores, as root, without spinning.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_hwloc_base_binding_policy=none
# Messages between processes of one machine without asking UCX, which takes half a second a start to
# find no network.
export OMPI_MCA_pml=${OMPI_MCA_pml:-ob1} OMPI_MCA_osc=${OMPI_MCA_osc:-^ucx}
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none
