package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image is the program and nothing else: no shell, no library, no other file. It
// names no user: in a pod that drops all capabilities but NET_ADMIN, only root has
// that one, and a root without capabilities owns nothing in an empty image.
func (b *builder) image(p *v1.Platform, program string) (v1.Image, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	layer, err := b.layer("kube-verdict", data)
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: b.created}
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Config = v1.Config{Entrypoint: []string{"/kube-verdict"}, Cmd: []string{"run"}, Labels: b.labels()}
	return mutate.ConfigFile(img, config)
}

// labels are those of the OCI image specification.
func (b *builder) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "kube-verdict",
		"org.opencontainers.image.description": "A Kubernetes Service proxy on nftables maps",
		"org.opencontainers.image.source":      "https://github.com/kube-verdict/kube-verdict",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     b.tag.TagStr(),
		"org.opencontainers.image.revision":    b.revision,
		"org.opencontainers.image.created":     b.created.Format("2006-01-02T15:04:05Z07:00"),
	}
}

// layer is a layer with one program in it.
func (b *builder) layer(name string, data []byte) (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(data)), ModTime: b.created, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, err
	}
	content := out.Bytes()
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
}

// sbomType is CycloneDX's media type in JSON.
const sbomType = "application/vnd.cyclonedx+json"

// bill is the bill of materials of the program, as an artifact that refers to the
// image (OCI image specification 1.1, "subject"). It lies beside the program, too.
func (b *builder) bill(program string, img v1.Image) (mutate.Appendable, error) {
	path := program + ".cdx.json"
	if err := command(nil, "go", "run", cyclonedx, "bin", "-json", "-noserial", "-notimestamp", "-std",
		"-version", b.tag.TagStr(), "-output", path, filepath.Clean(program)); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	artifact, err := mutate.AppendLayers(
		mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), sbomType),
		static.NewLayer(data, sbomType))
	if err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	of := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: digest, Size: int64(len(raw))}
	subject, ok := mutate.Subject(artifact, of).(v1.Image)
	if !ok || !json.Valid(data) {
		return nil, os.ErrInvalid
	}
	return subject, nil
}
