package controllers

import (
	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// logs makes the loggers of a controller's reconciliations.
func logs(log logr.Logger, controller string) func(*reconcile.Request) logr.Logger {
	log = deferred(log).WithValues("controller", controller)
	return func(r *reconcile.Request) logr.Logger {
		if r == nil {
			return log
		}
		return log.WithValues("namespace", r.Namespace, "name", r.Name)
	}
}

// deferred is a logger that encodes its values when something is logged. The library
// makes one with values of its own for each reconciliation, and hardly any of them logs.
func deferred(log logr.Logger) logr.Logger {
	// What is logged comes through one function more.
	return log.WithSink(deferredSink{log.WithCallDepth(1).GetSink(), nil})
}

type deferredSink struct {
	logr.LogSink
	values []any
}

func (s deferredSink) WithValues(values ...any) logr.LogSink {
	return deferredSink{s.LogSink, append(s.values[:len(s.values):len(s.values)], values...)}
}

func (s deferredSink) WithName(name string) logr.LogSink {
	return deferredSink{s.LogSink.WithName(name), s.values}
}

func (s deferredSink) Info(level int, message string, values ...any) {
	s.LogSink.WithValues(s.values...).Info(level, message, values...)
}

func (s deferredSink) Error(err error, message string, values ...any) {
	s.LogSink.WithValues(s.values...).Error(err, message, values...)
}
