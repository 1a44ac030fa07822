/* One batch of images and labels: a slot in host memory, and its place on the device. */
#ifndef CSL_NN_BATCH_H
#define CSL_NN_BATCH_H

#include <consilium/random.h>
#include <consilium/train.h>

/* What decides the size of a batch. */
typedef struct csl_batch_layout {
    csl_shape shape;
    csl_task task;
    uint32_t class_count;
    csl_element_type type;
    uint32_t batch_max;
} csl_batch_layout;

/* Arrays of a batch; those that the task does not need are NULL. Addresses are on the host or on
 * the device, by the function that made them. */
typedef struct csl_batch {
    void *memory;         /* all arrays lie in it */
    void *raw;            /* [batch_max][channels][depth][height][width] */
    csl_augment *augment; /* [batch_max] */
    int32_t *labels;      /* [batch_max] */
    float *targets;       /* [batch_max][class_count] */
    uint8_t *known;       /* [batch_max][class_count] */
    /* On the device only. */
    float *loss;              /* [batch_max] */
    float *probabilities;     /* [batch_max][class_count] */
    float *mean;              /* [channels] */
    float *inverse_deviation; /* [channels] */
    /* On the host only. */
    uint32_t count;       /* images in it */
    uint32_t first_image; /* position of its first image in the whole batch */
    uint32_t whole_count; /* images of the batch over all shards */
    bool has_known;
} csl_batch;

/* Bytes of a batch on the device. */
uint64_t csl_batch_size(const csl_batch_layout *layout);
csl_status csl_batch_create(csl_device *device,
                            const csl_batch_layout *layout,
                            bool on_device,
                            csl_batch *batch_out);
void csl_batch_destroy(csl_device *device, bool on_device, csl_batch *batch);

/* Copies image `index` of a data set and its labels to position `position` of a host batch. */
void csl_batch_set(const csl_dataset *dataset, uint64_t index, uint32_t position, csl_batch *batch);
/* Copies a host batch to the device and prepares its images in x. augmented: use its draws. */
csl_status csl_batch_upload(csl_device *device,
                            const csl_batch_layout *layout,
                            const csl_dataset *dataset,
                            const csl_batch *source,
                            bool augmented,
                            csl_batch *target,
                            float *x);
csl_status csl_batch_set_normalisation(csl_device *device,
                                       const csl_normalisation *normalisation,
                                       csl_batch *batch);

/* Checks that a data set suits a network, labels included. Errors: E_SHAPE, E_RANGE. */
csl_status csl_batch_check_dataset(const csl_model_spec *spec,
                                   const csl_dataset *dataset,
                                   const csl_normalisation *normalisation);

/* Whether any change is asked for. */
bool csl_augmentation_is_active(const csl_augmentation *augmentation);

#endif
