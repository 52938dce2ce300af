package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
)

// Blob is content that can be sent, however often.
type Blob struct {
	digest string
	size   int64
	body   Body
}

// Descriptor refers to content, as manifests do.
type Descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// Manifest is an OCI image manifest.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// random gives the same bytes for the same seed, on every machine and for every registry.
func random(seed uint64, size int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	content := make([]byte, size)
	rand.NewChaCha8(key).Read(content)
	return content
}

func blobOf(content []byte) Blob {
	return Blob{digestOf(content), int64(len(content)), func() io.Reader { return bytes.NewReader(content) }}
}

// numbered is `content` with another head: other bytes, without a copy of all of it.
func numbered(content []byte, number uint64) Blob {
	head := binary.LittleEndian.AppendUint64(nil, number)
	rest := content[min(len(head), len(content)):]
	hash := sha256.New()
	hash.Write(head)
	hash.Write(rest)
	body := func() io.Reader { return io.MultiReader(bytes.NewReader(head), bytes.NewReader(rest)) }
	return Blob{"sha256:" + hex.EncodeToString(hash.Sum(nil)), int64(len(head) + len(rest)), body}
}

func blobOfFile(path string) (Blob, error) {
	file, err := os.Open(path)
	if err != nil {
		return Blob{}, err
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	digest := "sha256:" + hex.EncodeToString(hash.Sum(nil))
	return Blob{digest, size, func() io.Reader { return &lazyFile{path: path} }}, err
}

// lazyFile is a file that is opened when it is first read and closed at its end.
type lazyFile struct {
	path string
	file *os.File
}

func (l *lazyFile) Read(into []byte) (int, error) {
	if l.file == nil {
		file, err := os.Open(l.path)
		if err != nil {
			return 0, err
		}
		l.file = file
	}
	size, err := l.file.Read(into)
	if err != nil {
		l.file.Close()
	}
	return size, err
}

func (b Blob) descriptor(mediaType string) Descriptor {
	return Descriptor{mediaType, b.digest, b.size}
}

func manifestOf(config Blob, layers []Blob) Manifest {
	manifest := Manifest{SchemaVersion: 2, MediaType: manifestType, Config: config.descriptor(configType)}
	for _, layer := range layers {
		manifest.Layers = append(manifest.Layers, layer.descriptor(layerType))
	}
	return manifest
}

func encoded(manifest Manifest) []byte {
	content, err := json.Marshal(manifest)
	if err != nil {
		panic(err) // a struct of strings and numbers can always be encoded
	}
	return content
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
