package agent

import (
	"net/http"
	"sync/atomic"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

// reach tells when the API server can't be reached, and when it can again. The
// client's watches go on trying without a word.
type reach struct {
	http.RoundTripper
	log  logr.Logger
	lost atomic.Bool
}

// tellReach is the configuration with a reach in it.
func tellReach(api *rest.Config, log logr.Logger) *rest.Config {
	api = rest.CopyConfig(api)
	log = log.WithValues("server", api.Host)
	api.Wrap(func(next http.RoundTripper) http.RoundTripper { return &reach{RoundTripper: next, log: log} })
	return api
}

// RoundTrip is the transport's.
func (r *reach) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := r.RoundTripper.RoundTrip(request)
	switch {
	case err == nil:
		if r.lost.Swap(false) {
			r.log.Info("The API server is reached again")
		}
	case request.Context().Err() == nil: // else it was given up
		if !r.lost.Swap(true) {
			r.log.Error(err, "The API server can't be reached; what is programmed stays, and it is tried again")
		}
	}
	return answer, err
}
