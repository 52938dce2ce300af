package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const layersAtATime = 3 // as docker and containerd do

// pull pulls one image by many clients at once: each the manifest by its tag, then config and layers, three at a time.
func pull(flags *flag.FlagSet, arguments []string) (*Outcome, error) {
	registry := registryFlags(flags)
	repository := flags.String("repository", "", "where from")
	tag := flags.String("tag", "latest", "which image")
	clients := flags.Int("clients", 1, "how many, at once")
	isVerified := flags.Bool("verify", false, "hash what comes and compare it with its digest")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	tally := newTally()
	inParallel(*clients, 0, *clients, func(int) {
		started := time.Now()
		size, err := pullImage(registry, *repository, *tag, *isVerified)
		tally.Add(started, size, err)
	})
	return tally.Outcome(), nil
}

func pullImage(registry *Registry, repository, tag string, isVerified bool) (int64, error) {
	var content bytes.Buffer
	size, err := registry.Get(repository, "/v2/"+repository+"/manifests/"+tag, &content)
	if err != nil {
		return 0, err
	}
	var manifest Manifest
	if err := json.Unmarshal(content.Bytes(), &manifest); err != nil {
		return 0, err
	}
	blobs := append([]Descriptor{manifest.Config}, manifest.Layers...)
	var mutex sync.Mutex
	var failed error
	inParallel(layersAtATime, 0, len(blobs), func(number int) {
		err := pullBlob(registry, repository, blobs[number], isVerified)
		mutex.Lock()
		defer mutex.Unlock()
		size += blobs[number].Size
		if err != nil {
			failed = err
		}
	})
	return size, failed
}

func pullBlob(registry *Registry, repository string, blob Descriptor, isVerified bool) error {
	sink, hash := io.Writer(io.Discard), sha256.New()
	if isVerified {
		sink = hash
	}
	size, err := registry.Get(repository, "/v2/"+repository+"/blobs/"+blob.Digest, sink)
	if err != nil {
		return err
	}
	if size != blob.Size {
		return fmt.Errorf("%s has %d bytes, not %d", blob.Digest, size, blob.Size)
	}
	if computed := "sha256:" + hex.EncodeToString(hash.Sum(nil)); isVerified && computed != blob.Digest {
		return fmt.Errorf("what came for %s is %s", blob.Digest, computed)
	}
	return nil
}

// get reads every path of a list (standard input, one a line) once, in the order given.
func get(flags *flag.FlagSet, arguments []string) (*Outcome, error) {
	registry := registryFlags(flags)
	repository := flags.String("repository", "", "what the paths belong to")
	parallel := flags.Int("parallel", 16, "how many at a time")
	addresses := flags.Int("addresses", 0, "how many loopback addresses to ask from; 0: one")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	registry.ConnectFrom(*addresses)
	var paths []string
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		paths = append(paths, lines.Text())
	}
	tally := newTally()
	inParallel(*parallel, 0, len(paths), func(number int) {
		started := time.Now()
		size, err := registry.Get(*repository, paths[number], io.Discard)
		tally.Add(started, size, err)
	})
	return tally.Outcome(), nil
}
