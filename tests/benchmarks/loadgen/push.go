package main

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"time"
)

// pushPlan says which images are pushed, and how.
type pushPlan struct {
	registry         *Registry
	repository, tag  string
	files            string
	images, parallel int
	layers           int
	layerBytes       int
	seed             uint64
	rate             float64
	isBare           bool
}

// image is what one push sends. Without a manifest (bare) it is its layers alone.
type image struct {
	repository, tag string
	blobs           []Blob
	manifest        []byte
}

// push pushes images: each its blobs one after the other, then its manifest. What is sent is made before the clock
// starts. In the repository and the tag `%d` is the number of the image, `%m` its remainder by -parallel.
func push(flags *flag.FlagSet, arguments []string) (*Outcome, error) {
	plan := pushPlan{registry: registryFlags(flags)}
	flags.StringVar(&plan.repository, "repository", "", "where to; %d and %m: see above")
	flags.StringVar(&plan.tag, "tag", "latest", "under which tag; %d and %m as well")
	flags.StringVar(&plan.files, "files", "", "files that are the layers, with commas; default: random bytes")
	flags.IntVar(&plan.images, "images", 1, "how many")
	flags.IntVar(&plan.parallel, "parallel", 1, "how many at a time")
	flags.IntVar(&plan.layers, "layers", 1, "layers of each image")
	flags.IntVar(&plan.layerBytes, "layer-bytes", 65536, "bytes of each layer")
	flags.Uint64Var(&plan.seed, "seed", 1, "what the random bytes are made from")
	flags.Float64Var(&plan.rate, "rate", 0, "images begun each second; 0: as fast as it goes")
	flags.BoolVar(&plan.isBare, "bare", false, "the layers alone, without config and manifest")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	images, err := plan.make()
	if err != nil {
		return nil, err
	}
	return plan.run(images), nil
}

func (p *pushPlan) make() ([]image, error) {
	shared, err := p.sharedLayers()
	if err != nil {
		return nil, err
	}
	content := random(p.seed, p.layerBytes)
	images := make([]image, p.images)
	for number := range images {
		layers := shared
		for layer := 0; len(shared) == 0 && layer < p.layers; layer++ {
			layers = append(layers, numbered(content, p.seed<<32+uint64(number*p.layers+layer)))
		}
		images[number] = p.image(number, layers)
	}
	return images, nil
}

func (p *pushPlan) sharedLayers() ([]Blob, error) {
	var layers []Blob
	if p.files == "" {
		return nil, nil
	}
	for _, path := range strings.Split(p.files, ",") {
		layer, err := blobOfFile(path)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	return layers, nil
}

func (p *pushPlan) image(number int, layers []Blob) image {
	made := image{repository: p.named(p.repository, number), tag: p.named(p.tag, number), blobs: layers}
	if !p.isBare {
		config := blobOf([]byte(fmt.Sprintf(`{"architecture":"amd64","os":"linux","number":"%d-%d"}`, p.seed, number)))
		made.blobs = append(made.blobs[:len(made.blobs):len(made.blobs)], config)
		made.manifest = encoded(manifestOf(config, layers))
	}
	return made
}

func (p *pushPlan) run(images []image) *Outcome {
	tally := newTally()
	inParallel(p.parallel, p.rate, len(images), func(number int) {
		started, sent := time.Now(), images[number]
		size, err := p.send(sent)
		tally.Add(started, size, err)
	})
	return tally.Outcome()
}

func (p *pushPlan) send(sent image) (int64, error) {
	var size int64
	for _, blob := range sent.blobs {
		if err := p.registry.Push(sent.repository, blob); err != nil {
			return 0, err
		}
		size += blob.size
	}
	if p.isBare {
		return size, nil
	}
	digest, err := p.registry.PutManifest(sent.repository, sent.tag, sent.manifest)
	if err == nil && digest != digestOf(sent.manifest) {
		err = fmt.Errorf("the registry calls the manifest %s, not %s", digest, digestOf(sent.manifest))
	}
	return size, err
}

// inParallel does `work` for 0 to count-1, `parallel` at a time; with a rate, none before its time.
func inParallel(parallel int, rate float64, count int, work func(int)) {
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range parallel {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for number := range numbers {
				work(number)
			}
		}()
	}
	started := time.Now()
	for number := range count {
		if rate > 0 {
			time.Sleep(time.Until(started.Add(time.Duration(float64(number) / rate * float64(time.Second)))))
		}
		numbers <- number
	}
	close(numbers)
	workers.Wait()
}

func (p *pushPlan) named(pattern string, number int) string {
	named := strings.ReplaceAll(pattern, "%d", fmt.Sprint(number))
	return strings.ReplaceAll(named, "%m", fmt.Sprint(number%p.parallel))
}
