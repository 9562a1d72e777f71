package config

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// Keywords in place of addresses.
const (
	// PodCIDRsOfNode stands for the pod CIDRs of the Node object.
	PodCIDRsOfNode = "node"

	primary, all, localhost = "primary", "all", "localhost"
)

// Validate says what is wrong, field by field, and what to write instead.
func (c *Configuration) Validate() field.ErrorList {
	var wrong field.ErrorList
	path := field.NewPath
	if c.Scope.Validate() != nil {
		wrong = append(wrong, field.NotSupported(path("scope"), c.Scope, proxy.Scopes()))
	}
	if _, err := c.Gates(); err != nil {
		wrong = append(wrong, field.Invalid(path("featureGates"), c.FeatureGates, err.Error()+": docs/gates.md and kube-verdict run --help list the gates"))
	}
	if c.ShadowPeriod.Duration < time.Second {
		wrong = append(wrong, field.Invalid(path("shadowPeriod"), c.ShadowPeriod.Duration.String(), "must be a second or more"))
	}
	wrong = append(wrong, c.DetectLocal.validate(path("detectLocal"))...)
	wrong = append(wrong, nodePortAddresses(path("nodePortAddresses"), c.NodePortAddresses)...)
	if c.MasqueradeBit < 0 || c.MasqueradeBit > 31 {
		wrong = append(wrong, field.Invalid(path("masqueradeBit"), c.MasqueradeBit, "a packet mark has the bits 0 to 31"))
	}
	wrong = append(wrong, notNegative(path("maxServiceElements"), c.MaxServiceElements)...)
	wrong = append(wrong, bindAddress(path("metricsBindAddress"), c.MetricsBindAddress)...)
	wrong = append(wrong, bindAddress(path("healthzBindAddress"), c.HealthzBindAddress)...)
	if a := c.MetricsBindAddress; a != "0" && a == c.HealthzBindAddress {
		wrong = append(wrong, field.Invalid(path("healthzBindAddress"), a, "metricsBindAddress is the same: choose another port"))
	}
	wrong = append(wrong, notNegative(path("clientConnection", "qps"), int(c.ClientConnection.QPS))...)
	wrong = append(wrong, notNegative(path("clientConnection", "burst"), c.ClientConnection.Burst)...)
	wrong = append(wrong, notNegative(path("logging", "verbosity"), c.Logging.Verbosity)...)
	if formats := []string{FormatJSON, FormatText}; !slices.Contains(formats, c.Logging.Format) {
		wrong = append(wrong, field.NotSupported(path("logging", "format"), c.Logging.Format, formats))
	}
	return append(wrong, c.Conntrack.validate(path("conntrack"))...)
}

func (d *DetectLocal) validate(path *field.Path) field.ErrorList {
	var wrong field.ErrorList
	cidrs := path.Child("podCIDRs")
	for i, text := range d.PodCIDRs {
		if text == PodCIDRsOfNode {
			if len(d.PodCIDRs) > 1 {
				wrong = append(wrong, field.Invalid(cidrs.Index(i), text, "stands alone: the Node object has the CIDRs"))
			}
			continue
		}
		wrong = append(wrong, cidr(cidrs.Index(i), text, "10.244.0.0/16, or alone, node")...)
	}
	if name := strings.TrimSuffix(d.PodInterface, "*"); len(name) >= unix.IFNAMSIZ || d.PodInterface == "*" {
		wrong = append(wrong, field.Invalid(path.Child("podInterface"), d.PodInterface, "must be a name of 1 to "+strconv.Itoa(unix.IFNAMSIZ-1)+" characters, or what names start with, and *"))
	}
	return wrong
}

func nodePortAddresses(path *field.Path, addresses []string) field.ErrorList {
	var wrong field.ErrorList
	seen := map[string]bool{}
	for i, text := range addresses {
		text = strings.TrimSpace(text)
		if slices.Contains([]string{primary, all, localhost}, text) {
			if seen[text] {
				wrong = append(wrong, field.Duplicate(path.Index(i), text))
			}
			seen[text] = true
			continue
		}
		if _, _, ok := proxy.ParsePrefix(text); !ok {
			wrong = append(wrong, field.Invalid(path.Index(i), text, "must be a CIDR such as 192.168.0.0/16, or one of primary, all and localhost"))
		}
	}
	return wrong
}

func cidr(path *field.Path, text, example string) field.ErrorList {
	prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(path, text, "must be a CIDR such as "+example)}
	case prefix != prefix.Masked():
		return field.ErrorList{field.Invalid(path, text, "not the first address of a network: write "+prefix.Masked().String())}
	}
	return nil
}

func bindAddress(path *field.Path, address string) field.ErrorList {
	if address == "0" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	number, e := strconv.Atoi(port)
	if err != nil || e != nil || number < 1 || number > 65535 || host != "" && net.ParseIP(host) == nil {
		return field.ErrorList{field.Invalid(path, address, "must be an IP address and a port, as in 127.0.0.1:10349 or [::]:10349, a port at all addresses, as in :10349, or 0 for none")}
	}
	return nil
}

func notNegative(path *field.Path, n int) field.ErrorList {
	if n < 0 {
		return field.ErrorList{field.Invalid(path, n, "must not be negative")}
	}
	return nil
}

func (c *Conntrack) validate(path *field.Path) field.ErrorList {
	wrong := append(notNegative(path.Child("maxPerCore"), c.MaxPerCore), notNegative(path.Child("min"), c.Min)...)
	for name, d := range map[string]metav1.Duration{
		"tcpEstablishedTimeout": c.TCPEstablishedTimeout, "tcpCloseWaitTimeout": c.TCPCloseWaitTimeout,
		"udpTimeout": c.UDPTimeout, "udpStreamTimeout": c.UDPStreamTimeout,
	} {
		if d.Duration < 0 || d.Duration%1e9 != 0 {
			wrong = append(wrong, field.Invalid(path.Child(name), d.Duration.String(), "must be whole seconds, as in 24h or 30s, and not negative"))
		}
	}
	slices.SortFunc(wrong, func(a, b *field.Error) int { return strings.Compare(a.Field, b.Field) })
	return wrong
}
