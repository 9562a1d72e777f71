package testbed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// serverName is in every certificate that an API server makes for itself, whatever
// its address.
const serverName = "kubernetes.default.svc"

func (c *ControlPlane) tokenFile() string { return filepath.Join(c.dir, "tokens.csv") }
func (c *ControlPlane) keyFile() string   { return filepath.Join(c.dir, "accounts.key") }
func (c *ControlPlane) caFile() string    { return filepath.Join(c.dir, "apiserver.crt") }

// writeCredentials makes what the programs need to trust each other: a token that
// is good for everything, and a key for service accounts, which nothing uses.
func (c *ControlPlane) writeCredentials(port string) error {
	c.token = rand.Text()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.keyFile(), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(c.tokenFile(), fmt.Appendf(nil, "%s,admin,admin,system:masters\n", c.token), 0o600); err != nil {
		return err
	}
	config := api.NewConfig()
	config.Clusters["testbed"] = &api.Cluster{
		Server:               "https://" + net.JoinHostPort(c.address, port),
		CertificateAuthority: c.caFile(),
		TLSServerName:        serverName,
	}
	config.AuthInfos["admin"] = &api.AuthInfo{Token: c.token}
	config.Contexts["testbed"] = &api.Context{Cluster: "testbed", AuthInfo: "admin"}
	config.CurrentContext = "testbed"
	return clientcmd.WriteToFile(*config, c.Kubeconfig())
}

// scratchPrefix is followed by the process id of the program that made the
// directory, so that a later one can tell what was left behind.
const scratchPrefix = "kube-verdict-testbed-"

// scratchDir makes a directory for a control plane, in memory where possible: what
// etcd writes is not worth a disk's time.
func scratchDir() (string, error) {
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = os.TempDir()
	}
	removeLeftovers(base)
	return os.MkdirTemp(base, scratchPrefix+strconv.Itoa(os.Getpid())+"-")
}

// removeLeftovers removes the directories of programs that were killed before they
// could: memory is not to be lost to them.
func removeLeftovers(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, scratchPrefix+"*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), scratchPrefix), "-")
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join("/proc", pid)); os.IsNotExist(err) {
			_ = os.RemoveAll(dir)
		}
	}
}
