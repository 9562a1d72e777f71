package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// source is where a controller hears of one kind. controller-runtime's own ones wait
// for all kinds in the cache: as long as one may not be read, or is not there, no
// controller would begin. They also look only ten times a second whether a kind is
// read, and put all that is there at the start into the queue.
type source struct {
	informers cache.Informers
	kind      client.Object
	// request is what a change of an object leads to, if to anything.
	request func(client.Object) (reconcile.Request, bool)
	// onlyChanges leaves out what is there at the start, as it is handed over by who
	// reads it after synced.
	onlyChanges bool
	// synced is closed when the queue has got all that is there at the start, and
	// the cache has it.
	synced chan struct{}
}

func newSource(informers cache.Informers, kind client.Object, request func(client.Object) (reconcile.Request, bool)) *source {
	return &source{informers: informers, kind: kind, request: request, synced: make(chan struct{})}
}

// itself is the request for the changed object.
func itself(o client.Object) (reconcile.Request, bool) {
	return reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)}, true
}

func (s *source) String() string { return fmt.Sprintf("%T", s.kind) }

// Start begins to fill the queue.
func (s *source) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	informer, err := s.informers.GetInformer(ctx, s.kind, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	changed := func(objects ...any) {
		for _, request := range s.requests(objects) {
			queue.Add(request)
		}
	}
	handler, err := informer.AddEventHandlerWithOptions(toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, atStart bool) {
			if !atStart || !s.onlyChanges {
				changed(o)
			}
		},
		UpdateFunc: func(before, now any) { changed(now, before) }, // which may have led elsewhere
		DeleteFunc: func(o any) { changed(o) },
	}, toolscache.HandlerOptions{})
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-handler.HasSyncedChecker().Done():
			close(s.synced)
		case <-ctx.Done():
		}
	}()
	return nil
}

// requests are what changed objects lead to, each once.
func (s *source) requests(objects []any) []reconcile.Request {
	var all []reconcile.Request
	for _, object := range objects {
		if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		o, ok := object.(client.Object)
		if !ok {
			continue
		}
		if request, ok := s.request(o); ok && !slices.Contains(all, request) {
			all = append(all, request)
		}
	}
	return all
}

// WaitForSync is for the controller, which takes being told to end for no fault.
func (s *source) WaitForSync(ctx context.Context) error {
	if err := s.wait(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// wait returns when the queue has got all that is there at the start.
func (s *source) wait(ctx context.Context) error {
	select {
	case <-s.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
