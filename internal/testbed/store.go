package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// Stored is an object as etcd has it.
type Stored struct {
	// Key is its place, for example /registry/services/specs/namespace/name.
	Key     string
	Version schema.GroupVersion
	Object  runtime.Object
}

// mostStored is etcd's own limit of operations in one transaction.
const mostStored = 128

// Store writes objects into etcd as the API server does, but without its help: nothing
// is checked, set by default or allocated, so that everything has to be in the objects.
// For benchmarks: to allocate an address takes the API server the longer the more there
// are, and 30 000 of them a quarter of an hour.
func (c *ControlPlane) Store(ctx context.Context, objects ...Stored) error {
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		return fmt.Errorf("the scheme has no %s", runtime.ContentTypeProtobuf)
	}
	for len(objects) > 0 {
		n := min(mostStored, len(objects))
		var puts []any
		for _, o := range objects[:n] {
			value, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, o.Version), o.Object)
			if err != nil {
				return fmt.Errorf("encoding %s: %w", o.Key, err)
			}
			puts = append(puts, map[string]any{"requestPut": map[string][]byte{"key": []byte(o.Key), "value": value}})
		}
		if err := c.etcdTransaction(ctx, puts); err != nil {
			return fmt.Errorf("storing %s and others: %w", objects[0].Key, err)
		}
		objects = objects[n:]
	}
	return nil
}

// etcdTransaction does operations in etcd, over its JSON interface.
func (c *ControlPlane) etcdTransaction(ctx context.Context, operations []any) error {
	body, err := json.Marshal(map[string]any{"success": operations})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+net.JoinHostPort(c.address, c.etcd)+"/v3/kv/txn", bytes.NewReader(body))
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: c.Config.Dial, DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	return err
}
