package controllers

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// watch is a source of events about one kind, which waits until that kind is read.
// Those that a builder makes wait for all kinds in the cache: as long as one may not be
// read, or is not there, no controller would begin.
func watch(mgr ctrl.Manager, kind client.Object, h handler.EventHandler) source.Source {
	return source.Kind(alone{mgr.GetCache()}, kind, h)
}

// alone is a cache in which no kind waits for another.
type alone struct{ cache.Cache }

// WaitForCacheSync has nothing to wait for: an informer is given when it is synced.
func (alone) WaitForCacheSync(context.Context) bool { return true }
