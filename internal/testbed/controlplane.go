package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// startLimit bounds how long one program of a control plane may take to be ready.
// An idle machine needs three seconds; a busy one may need many times that.
const startLimit = 2 * time.Minute

// ControlPlaneOptions are what tests vary. The zero value is a control plane on
// loopback, for clients in the caller's own process.
type ControlPlaneOptions struct {
	// ServiceCIDR is the API server's Service range; "" is DefaultServiceCIDR.
	ServiceCIDR string
	// Host runs the control plane on a host outside a node, at the host's first
	// address, which programs inside the node can reach. It must have no other.
	Host *Host
	// NoControllers leaves the controller manager out, for benchmarks, which write
	// EndpointSlices themselves and want the processor for what they measure.
	NoControllers bool
}

// DefaultServiceCIDR has room for Services of both families.
const DefaultServiceCIDR = "10.96.0.0/16,fd00:10:96::/108"

// ControlPlane is etcd, kube-apiserver and kube-controller-manager. The controllers
// are those that make and remove EndpointSlices; Pods have no kubelet, so their
// status is what the test says it is.
type ControlPlane struct {
	// Config reaches the API server as an administrator, without a rate limit.
	Config *rest.Config
	Client client.Client

	options   ControlPlaneOptions
	dir       string
	ns        *Namespace
	address   string
	token     string
	etcd, api string // their ports
	processes []*Process
}

// StartControlPlane starts a control plane and waits until it is ready. It ends
// with Stop, or with the calling program, however that ends.
func StartControlPlane(options ControlPlaneOptions) (*ControlPlane, error) {
	if options.ServiceCIDR == "" {
		options.ServiceCIDR = DefaultServiceCIDR
	}
	dir, err := scratchDir()
	if err != nil {
		return nil, fmt.Errorf("making a directory for a control plane: %w", err)
	}
	c := &ControlPlane{options: options, dir: dir, address: "127.0.0.1"}
	if options.Host != nil {
		c.ns, c.address = options.Host.Namespace, options.Host.Addrs[0].String()
	}
	if err := c.start(); err != nil {
		c.Stop()
		return nil, fmt.Errorf("starting a control plane: %w", err)
	}
	return c, nil
}

func (c *ControlPlane) start() error {
	peer, err := c.ports()
	if err != nil {
		return err
	}
	if err := c.writeCredentials(c.api); err != nil {
		return err
	}
	// Neither needs the other to start, only to become ready.
	if err := c.startEtcd(c.etcd, peer); err != nil {
		return err
	}
	c.configure()
	if err := c.StartAPIServer(); err != nil {
		return err
	}
	if c.Client, err = client.New(c.Config, client.Options{Scheme: scheme.Scheme}); err != nil {
		return err
	}
	if c.options.NoControllers {
		return nil
	}
	return c.startControllers()
}

// ports finds three free ports, one of which nobody asks for later. Another program may take one before it is used,
// but it would have to pick it within the second that a start takes.
func (c *ControlPlane) ports() (peer string, err error) {
	err = c.inside(func() error {
		var found [3]string
		for i := range found {
			listener, err := net.Listen("tcp", net.JoinHostPort(c.address, "0"))
			if err != nil {
				return fmt.Errorf("finding a free port on %s: %w", c.address, err)
			}
			defer func() { _ = listener.Close() }()
			found[i] = strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
		}
		c.etcd, peer, c.api = found[0], found[1], found[2]
		return nil
	})
	return peer, err
}

// inside runs f where the control plane runs.
func (c *ControlPlane) inside(f func() error) error {
	if c.ns == nil {
		return f()
	}
	return c.ns.Do(f)
}

func (c *ControlPlane) startEtcd(port, peer string) error {
	clients := "http://" + net.JoinHostPort(c.address, port)
	peers := "http://" + net.JoinHostPort(c.address, peer)
	return c.run("etcd",
		"--data-dir="+filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+clients, "--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)
}

// StartAPIServer starts the API server, again after StopAPIServer, and waits until
// it is ready.
func (c *ControlPlane) StartAPIServer() error {
	args := []string{
		"--etcd-servers=http://" + net.JoinHostPort(c.address, c.etcd),
		"--bind-address=" + c.address, "--advertise-address=" + c.address, "--secure-port=" + c.api,
		"--cert-dir=" + c.dir, // it makes itself a certificate there
		"--token-auth-file=" + c.tokenFile(),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=" + c.options.ServiceCIDR,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.keyFile(), "--service-account-signing-key-file=" + c.keyFile(),
		// Pods never run, so they need no account, and no controller makes one.
		"--disable-admission-plugins=ServiceAccount",
		"--allow-privileged=true",
	}
	if netip.MustParseAddr(c.address).IsLoopback() {
		// A Service cannot have a loopback address for an endpoint.
		args = append(args, "--endpoint-reconciler-type=none")
	}
	if err := c.run("kube-apiserver", args...); err != nil {
		return err
	}
	return c.awaitAPIServer()
}

// StopAPIServer ends the API server at once. What it has stored stays.
func (c *ControlPlane) StopAPIServer() {
	for i, p := range c.processes {
		if p.Name == "kube-apiserver" {
			p.Kill()
			c.processes = slices.Delete(c.processes, i, i+1)
			return
		}
	}
}

// startControllers leaves out the controllers that would act on Nodes and Pods for
// having no kubelet: they would mark them unready within a minute.
func (c *ControlPlane) startControllers() error {
	err := c.run("kube-controller-manager",
		"--kubeconfig="+c.Kubeconfig(), "--leader-elect=false", "--secure-port=0",
		"--controllers=endpointslice-controller,endpointslice-mirroring-controller,namespace-controller,garbage-collector-controller",
		"--concurrent-service-endpoint-syncs=20", "--kube-api-qps=1000", "--kube-api-burst=2000")
	if err != nil {
		return err
	}
	return c.waitForControllers()
}

// run starts one of the programs.
func (c *ControlPlane) run(name string, args ...string) error {
	path, err := Tool(name)
	if err != nil {
		return err
	}
	p, err := startProcess(c.ns, path, args...)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}

// configure says how the API server is reached.
func (c *ControlPlane) configure() {
	c.Config = &rest.Config{
		Host:        "https://" + net.JoinHostPort(c.address, c.api),
		BearerToken: c.token,
		QPS:         -1,
		TLSClientConfig: rest.TLSClientConfig{
			CAFile: c.caFile(), ServerName: serverName,
		},
	}
	if c.ns != nil {
		c.Config.Dial = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = c.ns.Do(func() error {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		}
	}
}

func (c *ControlPlane) awaitAPIServer() error {
	return c.await("the API server", func(ctx context.Context) error {
		if _, err := os.Stat(c.caFile()); err != nil {
			return err // not yet made
		}
		clients, err := kubernetes.NewForConfig(c.Config)
		if err != nil {
			return err
		}
		var status int
		err = clients.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&status).Error()
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("HTTP status %d", status)
		}
		return err
	})
}

// await repeats a check until it succeeds, a program ends, or it takes too long.
func (c *ControlPlane) await(what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			select {
			case <-p.Done():
				return fmt.Errorf("%s ended (%v); the end of its output:\n%s", p.Name, p.err, tail(p.Output()))
			default:
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			last := c.processes[len(c.processes)-1]
			return fmt.Errorf("%s is not ready after %v: %w; the end of %s's output:\n%s", what, startLimit, err, last.Name, tail(last.Output()))
		}
	}
}

// Kubeconfig is the path of a file for programs that run where the control plane
// does, or inside the node it is a neighbour of.
func (c *ControlPlane) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// Before reports whether the API server is of an older Kubernetes than 1.minor.
func (c *ControlPlane) Before(minor int) (bool, error) {
	clients, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return false, err
	}
	version, err := clients.Discovery().ServerVersion()
	if err != nil {
		return false, err
	}
	has, err := strconv.Atoi(version.Minor)
	return has < minor, err
}

// Logs is the output of one of the programs, for example "kube-apiserver".
func (c *ControlPlane) Logs(program string) string {
	for _, p := range c.processes {
		if p.Name == program {
			return p.Output()
		}
	}
	return ""
}

// Stop ends the programs and forgets their data. There is nothing to be gentle
// with: nobody reads the data again.
func (c *ControlPlane) Stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].Kill()
	}
	_ = os.RemoveAll(c.dir)
}

var errNotYet = errors.New("not yet")
