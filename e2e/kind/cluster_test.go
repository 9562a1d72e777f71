package kind

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const (
	// limit is how long a change may take until it shows, on a busy machine.
	limit = 2 * time.Minute
	// patience is how long one client waits for one answer. It is long, as a machine
	// may stand still for seconds when clusters start, and that is not what is tested.
	patience = 20 * time.Second
	// silence is how long nothing comes, where nothing should.
	silence = 3 * time.Second
	// repository is the root of the source, where documented commands are run.
	repository = "../.."
)

// cluster is the kind cluster, by its API and by its containers.
type cluster struct {
	client.Client
	clients *kubernetes.Clientset

	control, worker *node
	// outside is a container on the nodes' network that is no node.
	outside string
	// scenes counts them.
	scenes int
}

func newCluster(name string) (*cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	config.WarningHandler = rest.NoWarnings{}
	config.QPS, config.Burst = 100, 200
	c := &cluster{control: &node{name: name + "-control-plane"}, worker: &node{name: name + "-worker"}, outside: name + "-outside"}
	if c.Client, err = client.New(config, client.Options{}); err != nil {
		return nil, fmt.Errorf("the cluster that KUBECONFIG says does not answer: %w", err)
	}
	if c.clients, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	for _, n := range c.nodes() {
		if err := n.inspect(); err != nil {
			return nil, err
		}
	}
	return c, c.startOutside()
}

func (c *cluster) nodes() []*node { return []*node{c.control, c.worker} }

// startOutside starts the container outside of the cluster, which runs nothing and
// reaches the nodes' network alone. It is of the nodes' image, as that is here.
func (c *cluster) startOutside() error {
	if err := c.tearDown(); err != nil {
		return err
	}
	image, err := docker("inspect", "--format={{.Image}}", c.control.name)
	if err != nil {
		return err
	}
	network, err := docker("inspect", "--format={{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}", c.control.name)
	if err != nil {
		return err
	}
	if _, err := docker("run", "--detach", "--name="+c.outside, "--network="+network, "--entrypoint=/bin/sleep", image, "infinity"); err != nil {
		return err
	}
	ns, err := c.outsideNamespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	// What no node answers shall be asked of nobody else.
	for _, family := range []string{"-4", "-6"} {
		if _, err := ns.Run("ip", family, "route", "flush", "default"); err != nil {
			return err
		}
	}
	// The addresses of load balancers are on its network; a node that does not have
	// them yet says so.
	return errors.Join(
		ns.Sysctl("net.ipv4.conf.all.accept_redirects", "0"), ns.Sysctl("net.ipv4.conf.eth0.accept_redirects", "0"),
		ns.Sysctl("net.ipv6.conf.eth0.accept_redirects", "0"))
}

func (c *cluster) tearDown() error {
	_, err := docker("rm", "--force", c.outside)
	return err
}

func (c *cluster) outsideNamespace() (*testbed.Namespace, error) {
	pid, err := docker("inspect", "--format={{.State.Pid}}", c.outside)
	if err != nil {
		return nil, err
	}
	return testbed.OpenNamespace("/proc/" + pid + "/ns/net")
}

// shell runs a command at the root of the source, as a user of the cluster would. Helm
// and kubectl are those that "make tools" builds.
func (c *cluster) shell(ctx context.Context, command string) (string, error) {
	path := os.Getenv("PATH")
	for _, name := range []string{"helm", "kubectl"} {
		tool, err := testbed.Tool(name)
		if err != nil {
			return "", err
		}
		path = filepath.Dir(tool) + ":" + path
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), "PATH="+path)
	return run(cmd)
}

// docker runs docker, and gives what it prints without the last line's end.
func docker(args ...string) (string, error) {
	out, err := run(exec.Command("docker", args...))
	return strings.TrimSuffix(out, "\n"), err
}

// run gives what a program prints, and in the error what it complains of.
func run(cmd *exec.Cmd) (string, error) {
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out, complaints.String())
	}
	return string(out), err
}

// node is one of the cluster's nodes: a container with the Node's name.
type node struct {
	name string
	// subnets are the node's addresses of both families, with the subnets' lengths.
	subnets []netip.Prefix
}

// inspect asks docker for the node's addresses.
func (n *node) inspect() error {
	out, err := docker("inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}/{{.IPPrefixLen}} {{.GlobalIPv6Address}}/{{.GlobalIPv6PrefixLen}}{{end}}", n.name)
	if err != nil {
		return err
	}
	n.subnets = nil
	for _, field := range strings.Fields(out) {
		p, err := netip.ParsePrefix(field)
		if err != nil {
			return fmt.Errorf("node %s needs an address of each family: %w", n.name, err)
		}
		n.subnets = append(n.subnets, p)
	}
	if len(n.subnets) != 2 {
		return fmt.Errorf("node %s has the addresses %q, want one of each family", n.name, out)
	}
	return nil
}

// addr is the node's address of the family of like.
func (n *node) addr(like netip.Addr) netip.Addr {
	if like.Is4() {
		return n.subnets[0].Addr()
	}
	return n.subnets[1].Addr()
}

// run runs a command in the node's container.
func (n *node) run(args ...string) (string, error) {
	return docker(append([]string{"exec", n.name}, args...)...)
}

func (n *node) pid() (string, error) {
	return docker("inspect", "--format={{.State.Pid}}", n.name)
}

// namespace is the node's own.
func (n *node) namespace() (*testbed.Namespace, error) {
	pid, err := n.pid()
	if err != nil {
		return nil, err
	}
	return testbed.OpenNamespace("/proc/" + pid + "/ns/net")
}

// podNamespace is that of the pod which has an address.
func (n *node) podNamespace(addr netip.Addr) (*testbed.Namespace, error) {
	pid, err := n.pid()
	if err != nil {
		return nil, err
	}
	// The runtime has a file for each, with whatever name.
	paths, err := filepath.Glob("/proc/" + pid + "/root/run/netns/*")
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		ns, err := testbed.OpenNamespace(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // a pod that has just ended
		}
		if err != nil {
			return nil, err
		}
		if out, err := ns.Run("ip", "-o", "addr", "show", "to", addr.String()); err == nil && out != "" {
			return ns, nil
		}
		ns.Close()
	}
	return nil, fmt.Errorf("no pod on %s has the address %s", n.name, addr)
}
