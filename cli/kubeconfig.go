package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-verdict/kube-verdict/agent/config"
)

const kubeconfigUsage = "file that says how to reach the API server (default: the files in $KUBECONFIG, or without it ~/.kube/config; where there is none, the pod's service account)"

// apiConfig is the way to the API server: the file that is named, else those of
// $KUBECONFIG, else ~/.kube/config; where none of these exists, what a pod is given.
func apiConfig(c config.ClientConnection) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.Kubeconfig
	rules.WarnIfAllMissing = false // the error names the files
	api, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w (give --kubeconfig FILE, set KUBECONFIG, or run in a pod)", explainKubeconfig(rules, err))
	}
	// The work is watches and a few Events.
	api.UserAgent = rest.DefaultKubernetesUserAgent()
	api.QPS, api.Burst = c.QPS, c.Burst
	// A kubeconfig may say so, too.
	api.DisableCompression = api.DisableCompression || c.DisableCompression
	return api, nil
}

// explainKubeconfig has the error name the files that were looked at, and where their
// names are from.
func explainKubeconfig(rules *clientcmd.ClientConfigLoadingRules, err error) error {
	from, files := "--kubeconfig", []string{rules.ExplicitPath}
	if rules.ExplicitPath == "" {
		files = rules.GetLoadingPrecedence()
		if from = "$" + clientcmd.RecommendedConfigPathEnvVar; os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == "" {
			from = "by default"
		}
	}
	var looked []string
	missing := 0
	for _, file := range files {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			missing++
			file += " does not exist"
		}
		looked = append(looked, file)
	}
	where := fmt.Sprintf("%s: %s", from, strings.Join(looked, ", "))
	gone := missing == len(files)
	switch {
	case gone && (rules.ExplicitPath != "" || clientcmd.IsEmptyConfig(err)):
		return errors.New(where)
	case clientcmd.IsEmptyConfig(err): // its text names a variable that is of no use here
		return fmt.Errorf("%s: no cluster is in there, or none is chosen by current-context", where)
	}
	return fmt.Errorf("%s: %w", where, err)
}
