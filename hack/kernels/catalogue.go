package main

import (
	"fmt"
	"slices"
	"strings"
)

// newest is the series of a kernel that is newer than all others, whatever its number.
const newest = "newest"

// kernels are the series that a run can choose, the oldest first, and the Debian suite
// that serves each.
var kernels = []struct{ series, suite string }{
	{"5.10", "bullseye"},
	{"6.1", "bookworm"},
	{"6.12", "trixie"},
	{"6.18", "trixie-backports"},
	{newest, "trixie-backports"},
}

// listers are the versions of nft that must list our tables, and where each is from. The
// one in the middle is also what compiled tests run as nft.
var listers = []struct{ version, suite string }{
	{"0.9.8", "bullseye"},
	{testsNft, "bookworm"},
	{"1.1.3", "trixie"},
}

const testsNft = "1.0.6"

// nftPackages are nft and every library that one of its versions needs.
var nftPackages = []string{
	"nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libgmp10", "libxtables12",
	"libedit2", "libbsd0", "libmd0", "libtinfo6", "libc6",
}

// platform is a kind of machine that QEMU emulates.
type platform struct {
	goarch  string
	debian  string   // the architecture of packages
	flavour string   // how names of kernel packages end
	qemu    []string // the program and what makes it this machine
	console string
}

var platforms = []platform{
	{"amd64", "amd64", "cloud-amd64", []string{"qemu-system-x86_64", "-cpu", "max"}, "ttyS0"},
	{"arm64", "arm64", "cloud-arm64", []string{"qemu-system-aarch64", "-machine", "virt", "-cpu", "max,pauth=off"}, "ttyAMA0"},
	{"s390x", "s390x", "s390x", []string{"qemu-system-s390x", "-cpu", "max"}, "ttysclp0"},
}

func platformOf(goarch string) (platform, error) {
	names := []string{}
	for _, p := range platforms {
		if p.goarch == goarch {
			return p, nil
		}
		names = append(names, p.goarch)
	}
	return platform{}, fmt.Errorf("there is no machine %q; there are %s", goarch, strings.Join(names, ", "))
}

// choose gives the series that a word stands for: "all", "ci" (the oldest and the newest),
// or series with commas between them.
func choose(word string) ([]string, error) {
	all := []string{}
	for _, k := range kernels {
		all = append(all, k.series)
	}
	switch word {
	case "all", "":
		return all, nil
	case "ci":
		return []string{all[0], all[len(all)-1]}, nil
	}
	list := strings.Split(word, ",")
	for _, series := range list {
		if !slices.Contains(all, series) {
			return nil, fmt.Errorf("there is no kernel %q; there are all, ci, %s", series, strings.Join(all, ", "))
		}
	}
	return list, nil
}

// suiteOf is the suite that serves a series.
func suiteOf(series string) string {
	for _, k := range kernels {
		if k.series == series {
			return k.suite
		}
	}
	return ""
}
