package image

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// program writes a file that stands for a static program.
func program(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func spec(t *testing.T) Spec {
	return Spec{
		Name:       "ringfence.local/test:1",
		Files:      []File{{program(t, "world", 0o640), "/etc/app/hello"}, {program(t, "binary", 0o750), "/usr/bin/app"}},
		Symlinks:   []Symlink{{"/bin/sh", "/usr/bin/app"}},
		Entrypoint: []string{"/usr/bin/app", "serve"},
		Env:        []string{"A=b,c"},
		User:       "65532:65532",
		Arch:       "amd64",
	}
}

func pack(t *testing.T, s Spec) (archive string, digest v1.Hash) {
	t.Helper()
	archive = filepath.Join(t.TempDir(), "sub", "image.tar")
	digest, err := Pack(s, archive)
	if err != nil {
		t.Fatal(err)
	}
	return archive, digest
}

// unpack reads the archive with the library's own reader of image layouts.
func unpack(t *testing.T, archive string) (v1.Image, v1.Descriptor) {
	t.Helper()
	folder := t.TempDir()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if hex, ok := strings.CutPrefix(h.Name, "blobs/sha256/"); ok && hex != fmt.Sprintf("%x", sha256.Sum256(content)) {
			t.Errorf("the blob %s holds something else", hex)
		}
		path := filepath.Join(folder, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("the index has %d images, %v", len(manifest.Manifests), err)
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img, manifest.Manifests[0]
}

func TestRoundTrip(t *testing.T) {
	archive, digest := pack(t, spec(t))
	img, descriptor := unpack(t, archive)
	if descriptor.Digest != digest || descriptor.MediaType != types.OCIManifestSchema1 {
		t.Errorf("the index lists %s as %s, Pack returned %s", descriptor.Digest, descriptor.MediaType, digest)
	}
	if got := descriptor.Annotations["io.containerd.image.name"]; got != "ringfence.local/test:1" {
		t.Errorf("containerd would call the image %q", got)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		Entrypoint: []string{"/usr/bin/app", "serve"},
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=b,c"},
		User:       "65532:65532",
		WorkingDir: "/",
	}
	if diff := cmp.Diff(want, file.Config); diff != "" {
		t.Errorf("config -want +got:\n%s", diff)
	}
	if file.OS != "linux" || file.Architecture != "amd64" || !file.Created.Equal(time.Unix(0, 0)) {
		t.Errorf("for %s/%s of %s", file.OS, file.Architecture, file.Created)
	}
	wantLayer := []string{
		"etc/ 755", "etc/app/ 755", "etc/app/hello 644 world", "usr/ 755", "usr/bin/ 755", "usr/bin/app 755 binary",
		"bin/ 755", "bin/sh 777 -> /usr/bin/app", "tmp/ 1777",
	}
	if diff := cmp.Diff(wantLayer, layerLines(t, img)); diff != "" {
		t.Errorf("layer -want +got:\n%s", diff)
	}
}

// layerLines describes each entry of the only layer.
func layerLines(t *testing.T, img v1.Image) []string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%s %o %s", h.Name, h.Mode, text)
		if h.Linkname != "" {
			line += "-> " + h.Linkname
		}
		if h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(time.Unix(0, 0)) {
			line += fmt.Sprintf(" of %d:%d, %s", h.Uid, h.Gid, h.ModTime)
		}
		lines = append(lines, strings.TrimSpace(line))
	}
}

// TestReproducible packs the same content from other files, at another time, in another order.
func TestReproducible(t *testing.T) {
	first, digest := pack(t, spec(t))
	other := spec(t)
	other.Files[0], other.Files[1] = other.Files[1], other.Files[0]
	later := time.Now().Add(time.Hour)
	for _, f := range other.Files {
		if err := os.Chtimes(f.Source, later, later); err != nil {
			t.Fatal(err)
		}
	}
	second, otherDigest := pack(t, other)
	if digest != otherDigest || sum(t, first) != sum(t, second) {
		t.Errorf("the same image packed twice: %s and %s", digest, otherDigest)
	}
	other.Files[0].Source = program(t, "changed", 0o755)
	if _, changed := pack(t, other); changed == digest {
		t.Error("other content gives the same digest")
	}
}

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(content)
}

func TestRefuses(t *testing.T) {
	file := program(t, "x", 0o755)
	for name, c := range map[string]struct {
		spec Spec
		want string
	}{
		"no tag":         {Spec{Name: "ringfence.local/test"}, "needs a tag"},
		"port, no tag":   {Spec{Name: "localhost:5000/test"}, "needs a tag"},
		"no name":        {Spec{}, "needs a tag"},
		"relative":       {Spec{Name: "a:1", Files: []File{{file, "app"}}}, `"app" is not a clean absolute path`},
		"escape":         {Spec{Name: "a:1", Files: []File{{file, "/../app"}}}, "is not a clean absolute path"},
		"twice":          {Spec{Name: "a:1", Files: []File{{file, "/app"}, {file, "/app"}}}, "/app is in the image twice"},
		"file as folder": {Spec{Name: "a:1", Files: []File{{file, "/app"}}, Symlinks: []Symlink{{"/app", "x"}}}, "/app is in the image twice"},
		"under a file":   {Spec{Name: "a:1", Files: []File{{file, "/app"}, {file, "/app/x"}}}, "/app is a file in the image and a folder"},
		"tmp as file":    {Spec{Name: "a:1", Files: []File{{file, "/tmp"}}}, "/tmp is a file in the image and a folder"},
		"missing":        {Spec{Name: "a:1", Files: []File{{"/no/such/file", "/app"}}}, "/no/such/file"},
		"folder":         {Spec{Name: "a:1", Files: []File{{t.TempDir(), "/app"}}}, "is not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "image.tar")
			if _, err := Pack(c.spec, out); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("an archive was written all the same")
			}
		})
	}
}

// FuzzTarget checks that whatever path is asked for, the layer holds clean relative paths only, each once and in a
// folder that stands before it.
func FuzzTarget(f *testing.F) {
	for _, seed := range [][2]string{{"/a", "/b"}, {"/a/b", "/a"}, {"/tmp/x", "/tmp"}, {"/../x", "//y"}, {"/a/./b", ""}} {
		f.Add(seed[0], seed[1])
	}
	source := filepath.Join(f.TempDir(), "file")
	if err := os.WriteFile(source, []byte("x"), 0o644); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, file, link string) {
		img, err := build(Spec{Name: "a:1", Files: []File{{source, file}}, Symlinks: []Symlink{{link, "x"}}})
		if err != nil {
			return // refused
		}
		folders := map[string]bool{} // false for other entries
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		content, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(content); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("%q and %q: %v", file, link, err)
			}
			name := strings.TrimSuffix(h.Name, "/")
			_, again := folders[name]
			if parent := filepath.Dir(name); again || parent != "." && !folders[parent] || filepath.Clean(name) != name || !filepath.IsLocal(name) {
				t.Fatalf("%q and %q: entry %q", file, link, h.Name)
			}
			folders[name] = h.Typeflag == tar.TypeDir
		}
	})
}
