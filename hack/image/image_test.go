package main

import (
	"archive/tar"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// The image is one static program, said to be what it is, and the same whenever it
// is built.
func TestTheImageIsOneStaticProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program twice")
	}
	t.Chdir("../..")
	var digests []v1.Hash
	dir := t.TempDir()
	for range 2 {
		if err := run([]string{"-o", dir, "-platforms", "linux/amd64", "-tag", "kube-verdict:v0", "-sbom=false"}); err != nil {
			t.Fatal(err)
		}
		index, err := layout.ImageIndexFromPath(filepath.Join(dir, "oci"))
		if err != nil {
			t.Fatal(err)
		}
		digest, err := index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("two builds of one commit differ: %v", digests)
	}

	img := onlyImage(t, filepath.Join(dir, "oci"))
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; len(c.Entrypoint) != 1 || c.Entrypoint[0] != "/kube-verdict" || c.Labels["org.opencontainers.image.version"] != "v0" || config.Architecture != "amd64" {
		t.Errorf("the image's configuration is %+v", config)
	}
	files := tar.NewReader(mutate.Extract(img))
	header, err := files.Next()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "extracted")
	file, err := os.Create(program)
	if err != nil {
		t.Fatal(err)
	}
	size, err := io.Copy(file, files)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	if header.Name != "kube-verdict" || header.Mode&0o111 != 0o111 || size >= 60e6 {
		t.Errorf("the image has %s with mode %o and %d bytes", header.Name, header.Mode, size)
	}
	if _, err := files.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("the image has more than the program: %v", err)
	}
	binary, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = binary.Close() }()
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program needs a dynamic linker (%s)", p.Type)
		}
	}
}

func onlyImage(t *testing.T, path string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%+v, %v, want one image", manifest, err)
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}
