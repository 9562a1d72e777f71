package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft"
)

// peer is one of the proxies that are compared.
type peer struct {
	name  string
	start func(*site, *cluster) (*testbed.Process, error)
	// ready says that the Services of the API server are programmed, by what the
	// proxy says of itself.
	ready func(*site) error
	// programmed counts in the kernel: all of the cluster's Services have to be
	// there.
	programmed func(*site, *cluster) error
	// metrics is the port of its metrics, own the one that has the time of its
	// rounds of programming.
	metrics int
	own     string
	// ends gives the cluster's Services that are first and last in a list that
	// packets go through, if there is one.
	ends func(*site) (first, last int, err error)
}

const (
	ours     = "kube-verdict"
	nftMode  = "kube-proxy nftables"
	iptsMode = "kube-proxy iptables"
	// nobody is no proxy at all: what is measured then is to compare with.
	nobody = "no proxy"
)

// kinds are the peers by the names that -peers has.
func kinds(program string) map[string]*peer {
	return map[string]*peer{
		"ours": {
			name: ours, metrics: 10349, own: "kube_verdict_programming_duration_seconds",
			start: func(s *site, c *cluster) (*testbed.Process, error) {
				return s.node.Start(program, "run", "--kubeconfig="+c.api.Kubeconfig(), "--node-name="+nodeName, "--pod-cidrs="+podCIDR.String())
			},
			ready:      func(s *site) error { _, err := s.get(10356, "/readyz"); return err },
			programmed: oursProgrammed,
		},
		"nftables": {
			name: nftMode, metrics: 10249, own: "kubeproxy_sync_proxy_rules_duration_seconds",
			start: kubeProxy("nftables"), ready: kubeProxyReady, programmed: nftablesProgrammed,
		},
		"iptables": {
			name: iptsMode, metrics: 10249, own: "kubeproxy_sync_proxy_rules_duration_seconds",
			start: kubeProxy("iptables"), ready: kubeProxyReady, programmed: iptablesProgrammed, ends: iptablesEnds,
		},
	}
}

// kubeProxy starts it with the settings that it has by itself.
func kubeProxy(mode string) func(*site, *cluster) (*testbed.Process, error) {
	return func(s *site, c *cluster) (*testbed.Process, error) {
		path, err := testbed.Tool("kube-proxy")
		if err != nil {
			return nil, err
		}
		return s.node.Start(path, "--proxy-mode="+mode, "--kubeconfig="+c.api.Kubeconfig(), "--hostname-override="+nodeName,
			"--cluster-cidr="+podCIDR.String(),
			// Not all of these sysctls can be written in a namespace.
			"--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s")
	}
}

func kubeProxyReady(s *site) error {
	all, err := s.series(10249)
	if err == nil && all[`kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}`] == 0 {
		err = errors.New("it has not programmed anything yet")
	}
	return err
}

func counted(what string, have, want int) error {
	if have != want {
		return fmt.Errorf("the kernel has %d %s, want %d", have, what, want)
	}
	return nil
}

func oursProgrammed(s *site, c *cluster) error {
	table := nft.ID{Family: nft.IPv4, Name: "kube-verdict"}
	services, err := s.conn.Elements(table, "services")
	if err != nil {
		return err
	}
	endpoints, err := s.conn.Elements(table, "endpoints")
	if err != nil {
		return err
	}
	return errors.Join(counted("frontends", len(services), c.frontends()), counted("endpoints", len(endpoints), c.allEndpoints()))
}

// nftablesProgrammed counts frontends only: a frontend leads to a chain, and this has
// all endpoints in one rule.
func nftablesProgrammed(s *site, c *cluster) error {
	services, err := s.conn.Elements(nft.ID{Family: nft.IPv4, Name: "kube-proxy"}, "service-ips")
	if err != nil {
		return err
	}
	return counted("frontends", len(services), c.frontends())
}

// iptablesProgrammed counts frontends only, as they come in one restore with all
// else.
func iptablesProgrammed(s *site, c *cluster) error {
	rules, err := iptablesServices(s)
	if err != nil {
		return err
	}
	return counted("frontends", len(rules), c.frontends())
}

// iptablesServices are the rules that packets to ClusterIPs go through.
func iptablesServices(s *site) (rules []string, err error) {
	text, err := s.node.Run("iptables", "-t", "nat", "-S", "KUBE-SERVICES")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, " -j KUBE-SVC-") {
			rules = append(rules, line)
		}
	}
	return rules, nil
}

func iptablesEnds(s *site) (first, last int, err error) {
	rules, err := iptablesServices(s)
	if err != nil {
		return 0, 0, err
	}
	first, last = -1, -1
	for _, rule := range rules {
		_, after, _ := strings.Cut(rule, namespace+"/svc-")
		number, _, _ := strings.Cut(after, ":")
		i, err := strconv.Atoi(number)
		if err != nil || i >= mostServices {
			continue // another Service
		}
		if first < 0 {
			first = i
		}
		last = i
	}
	if first < 0 {
		return 0, 0, fmt.Errorf("none of %d rules is of a Service of the cluster's", len(rules))
	}
	return first, last, nil
}

// get asks the proxy over HTTP, from its own node.
func (s *site) get(port int, path string) (body string, err error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = s.node.Do(func() error {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}}
	answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, answer.Status, strings.TrimSpace(string(text)))
	}
	return string(text), err
}

// series are a proxy's metrics.
func (s *site) series(port int) (map[string]float64, error) {
	body, err := s.get(port, "/metrics")
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(body) {
		if at := strings.LastIndex(line, " "); at > 0 && line[0] != '#' {
			if value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64); err == nil {
				all[line[:at]] = value
			}
		}
	}
	return all, nil
}

// work is what a proxy says of its rounds of programming so far: how many there were,
// and how long they took together. kube-proxy has them by family; its own rounds for
// IPv6, which has no Services here, are left out.
type work struct{ seconds, rounds float64 }

func (p *peer) work(s *site) (work, error) {
	all, err := s.series(p.metrics)
	if err != nil {
		return work{}, err
	}
	for _, labels := range []string{"", `{ip_family="IPv4"}`} {
		if rounds, ok := all[p.own+"_count"+labels]; ok {
			return work{all[p.own+"_sum"+labels], rounds}, nil
		}
	}
	return work{}, fmt.Errorf("%s has no metric %s", p.name, p.own)
}

func (w work) since(before work) work {
	return work{w.seconds - before.seconds, w.rounds - before.rounds}
}

// needsProgram says what is missing for a peer before anything is started.
func needsProgram(program string) error {
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("%s is missing: run \"make build\", or say -program: %w", filepath.Base(program), err)
	}
	return nil
}
