package main

import (
	"flag"
	"fmt"
	"time"
)

const (
	smallLayers     = 10
	smallLayerBytes = 1024
	smallSeed       = 7
	sbomType        = "application/spdx+json"
)

// pushManifests pushes many different manifests over the same small blobs, tagged t0, t1, …; with -about they are
// referrers of the manifest under that tag, and have no tags.
func pushManifests(flags *flag.FlagSet, arguments []string) (*Outcome, error) {
	registry := registryFlags(flags)
	repository := flags.String("repository", "", "where to")
	count := flags.Int("count", 1, "how many")
	parallel := flags.Int("parallel", 4, "how many at a time")
	isAbout := flags.Bool("about", false, "push one manifest under the tag subject, and the others as its referrers")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	base, err := pushBase(registry, *repository)
	if err != nil {
		return nil, err
	}
	tally := newTally()
	if *isAbout {
		content := encoded(base)
		digest, err := registry.PutManifest(*repository, "subject", content)
		if err != nil {
			return nil, err
		}
		tally.Name("subject", digest)
		base.Subject = &Descriptor{manifestType, digest, int64(len(content))}
		base.ArtifactType = sbomType
	}
	inParallel(*parallel, 0, *count, func(number int) {
		started, content := time.Now(), encoded(withNumber(base, number))
		reference := fmt.Sprintf("t%d", number)
		if *isAbout {
			reference = digestOf(content)
		}
		digest, err := registry.PutManifest(*repository, reference, content)
		if number == 0 {
			tally.Name(reference, digest)
		}
		tally.Add(started, int64(len(content)), err)
	})
	return tally.Outcome(), nil
}

func pushBase(registry *Registry, repository string) (Manifest, error) {
	config := blobOf([]byte(`{"architecture":"amd64","os":"linux"}`))
	var layers []Blob
	for number := range smallLayers {
		layers = append(layers, numbered(random(smallSeed, smallLayerBytes), uint64(number)))
	}
	for _, blob := range append([]Blob{config}, layers...) {
		if err := registry.Push(repository, blob); err != nil {
			return Manifest{}, err
		}
	}
	return manifestOf(config, layers), nil
}

func withNumber(base Manifest, number int) Manifest {
	base.Annotations = map[string]string{"org.opencontainers.image.version": fmt.Sprint(number)}
	return base
}
