package kind

import (
	"context"
	"errors"
	"testing"
	"time"
)

// While the API server is away traffic goes on, and what changes then shows when it is
// back.
func TestAPIServerRestart(t *testing.T) {
	s := newScene(t)
	s.served()
	callers := s.underLoad()
	restarts := map[*node]int32{}
	for _, n := range s.nodes() {
		restarts[n] = s.restarts(n)
	}
	const manifest, away = "/etc/kubernetes/manifests/kube-apiserver.yaml", "/kube-apiserver.yaml"
	_, err := s.control.run("mv", manifest, away)
	s.must(err)
	back := func() {
		if _, err := s.control.run("sh", "-c", "[ ! -e "+away+" ] || mv "+away+" "+manifest); err != nil {
			t.Error(err)
		}
		s.eventually("the API server to answer again", s.answersAPI)
	}
	t.Cleanup(back)
	s.eventually("the API server to be away", func() error {
		if s.answersAPI() == nil {
			return errors.New("it answers")
		}
		return nil
	})
	callers.settle("without the API server")
	// The agents are alive, and must not be taken for dead.
	for _, n := range s.nodes() {
		s.killAgent(n)
	}
	callers.settle("without the API server, and new agents")
	back()
	for n, before := range restarts {
		s.startedAgain(n, before)
	}
	s.agentsReady()
	callers.settle("with the API server again")
	s.follows("later")
	callers.stop()
}

// answersAPI gives an error while the API server does not answer.
func (s *scene) answersAPI() error {
	ctx, stop := context.WithTimeout(s.ctx, 5*time.Second)
	defer stop()
	return s.clients.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}
