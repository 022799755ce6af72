// Package image packs static programs into OCI image archives (image-layout 1.0, as a tar), without a container
// engine. The same input always gives the same bytes: files are owned by root, dated 1970 and in a fixed order.
//
// It makes one uncompressed layer: archives go from this machine's disk into this machine's containerd, where
// compression only costs time. It pulls and pushes nothing.
package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Spec is an image to be packed.
type Spec struct {
	Name       string // full reference, as pods name it: "ringfence.local/watcher:dev"
	Files      []File
	Symlinks   []Symlink
	Entrypoint []string
	Env        []string // KEY=value; PATH is set in any case
	User       string   // "uid" or "uid:gid"; empty is root
	Arch       string   // GOARCH; empty is this machine's
}

// File is a file of the image: the content and mode of the file Source at the absolute path Target.
type File struct{ Source, Target string }

// Symlink is a symbolic link of the image at the absolute path Target.
type Symlink struct{ Target, To string }

// epoch dates everything in the image.
var epoch = time.Unix(0, 0).UTC()

// Pack writes the image as an OCI archive to the file out, at once: out is either the old or the whole new archive.
// It returns the digest of the image's manifest.
func Pack(spec Spec, out string) (v1.Hash, error) {
	img, err := build(spec)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("pack %s: %w", spec.Name, err)
	}
	if err := writeArchive(spec.Name, img, out); err != nil {
		return v1.Hash{}, fmt.Errorf("pack %s: %w", spec.Name, err)
	}
	return img.Digest()
}

func build(spec Spec) (v1.Image, error) {
	if !strings.Contains(path.Base(spec.Name), ":") {
		return nil, fmt.Errorf("the name needs a tag, such as %s:dev", cmp.Or(spec.Name, "ringfence.local/app"))
	}
	layer, err := layer(spec)
	if err != nil {
		return nil, err
	}
	base := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	base = mutate.ConfigMediaType(base, types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{Layer: static.NewLayer(layer, types.OCIUncompressedLayer)})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: epoch}
	file.OS, file.Architecture = "linux", cmp.Or(spec.Arch, runtime.GOARCH)
	file.Config = v1.Config{
		Entrypoint: spec.Entrypoint,
		Env:        append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, spec.Env...),
		User:       spec.User,
		WorkingDir: "/",
	}
	return mutate.ConfigFile(img, file)
}

// layer is the tar of the image's only layer. /tmp exists in every image, writable by all.
func layer(spec Spec) ([]byte, error) {
	var out bytes.Buffer
	w := &layerWriter{tar: tar.NewWriter(&out), made: map[string]bool{}}
	files := slices.SortedFunc(slices.Values(spec.Files), func(a, b File) int { return cmp.Compare(a.Target, b.Target) })
	for _, f := range files {
		if err := w.file(f); err != nil {
			return nil, err
		}
	}
	links := slices.SortedFunc(slices.Values(spec.Symlinks), func(a, b Symlink) int { return cmp.Compare(a.Target, b.Target) })
	for _, l := range links {
		if err := w.symlink(l); err != nil {
			return nil, err
		}
	}
	if err := w.dir("tmp", 0o1777); err != nil {
		return nil, err
	}
	if err := w.tar.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

type layerWriter struct {
	tar  *tar.Writer
	made map[string]bool // paths in the layer, without the leading slash; true for folders
}

func (w *layerWriter) file(f File) error {
	name, err := w.claim(f.Target)
	if err != nil {
		return err
	}
	info, err := os.Stat(f.Source)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", f.Source)
	}
	content, err := os.ReadFile(f.Source)
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 { // the umask of whoever built it must not show in the digest
		mode = 0o755
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: epoch}
	if err := w.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err = w.tar.Write(content)
	return err
}

func (w *layerWriter) symlink(l Symlink) error {
	name, err := w.claim(l.Target)
	if err != nil {
		return err
	}
	return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: l.To, Mode: 0o777, ModTime: epoch})
}

// claim makes the folders above target and refuses a path that is in the image already.
func (w *layerWriter) claim(target string) (string, error) {
	if !path.IsAbs(target) || path.Clean(target) != target || target == "/" {
		return "", fmt.Errorf("%q is not a clean absolute path in the image", target)
	}
	name := target[1:]
	if _, exists := w.made[name]; exists {
		return "", fmt.Errorf("%s is in the image twice", target)
	}
	if err := w.dirs(path.Dir(name)); err != nil {
		return "", err
	}
	w.made[name] = false
	return name, nil
}

func (w *layerWriter) dirs(name string) error {
	if name == "." {
		return nil
	}
	if err := w.dirs(path.Dir(name)); err != nil {
		return err
	}
	mode := int64(0o755)
	if name == "tmp" {
		mode = 0o1777
	}
	return w.dir(name, mode)
}

func (w *layerWriter) dir(name string, mode int64) error {
	if folder, exists := w.made[name]; exists && !folder {
		return fmt.Errorf("/%s is a file in the image and a folder", name)
	} else if exists {
		return nil
	}
	w.made[name] = true
	return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: epoch})
}

// writeArchive writes the image layout to a folder beside out and tars it.
func writeArchive(name string, img v1.Image, out string) (err error) {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(out), ".pack-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	folder := filepath.Join(tmp, "layout")
	index, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	annotations := map[string]string{
		"io.containerd.image.name":          name,
		"org.opencontainers.image.ref.name": name[strings.LastIndex(name, ":")+1:],
	}
	if err := index.AppendImage(img, layout.WithAnnotations(annotations)); err != nil {
		return err
	}
	archive := filepath.Join(tmp, "archive.tar")
	if err := tarFolder(folder, archive); err != nil {
		return err
	}
	return os.Rename(archive, out)
}

// tarFolder writes the regular files under folder in the order of their paths.
func tarFolder(folder, archive string) (err error) {
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	walk := func(file string, d fs.DirEntry, err error) error { // in lexical order
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		return copyIn(w, file, filepath.ToSlash(name))
	}
	if err := filepath.WalkDir(folder, walk); err != nil {
		return err
	}
	return w.Close()
}

func copyIn(w *tar.Writer, file, name string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size(), ModTime: epoch}); err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}
