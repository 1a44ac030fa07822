#include <consilium/phantom.h>

#include <consilium/random.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A picture is a sum of soft ellipsoids in coordinates -1..1 (z front to back, y down, x across):
 * thorax, lungs, heart, spine, vessels, haze, lesions; then ribs, then the scanner. Everything is
 * polynomial, so that the bytes are the same on every machine. What a lesion adds in brightness a
 * clear lung gets as haze: the sum of pixels says nothing, only shape does.
 */
typedef struct phantom_canvas {
    float *voxels; /* [depth][height][width] */
    int extent[3];
} phantom_canvas;

typedef struct soft_ellipsoid {
    double center[3];
    double radius[3];
    double softness; /* share of the radius over which it fades, 0..1 */
    double amplitude;
} soft_ellipsoid;

typedef struct phantom_scanner {
    double gain, offset, blur, noise;
    float curve[257]; /* gamma, sampled */
} phantom_scanner;

typedef struct phantom_patient {
    double lung[2][3]; /* centers */
    double lung_radius[3];
    double thorax[3];
    double heart[3];
    double rib_phase, rib_count;
    uint32_t site;
    uint32_t condition;
    uint8_t split;
} phantom_patient;

void csl_phantom_defaults(csl_phantom_options *options_out)
{
    *options_out = (csl_phantom_options){
        .count = 4000, .size = 28, .dims = 2, .class_count = 2, .site_count = 8, .seed = 1};
}

static double between(csl_random *random, double low, double high)
{
    return low + (high - low) * csl_random_uniform(random);
}

static double smooth(double t)
{
    t = t < 0.0 ? 0.0 : t > 1.0 ? 1.0 : t;
    return t * t * (3.0 - 2.0 * t);
}

static double coordinate(int index, int count)
{
    return count == 1 ? 0.0 : (2.0 * index + 1.0) / count - 1.0;
}

static void draw(phantom_canvas *canvas, const soft_ellipsoid *shape)
{
    int low[3], high[3];
    for (int axis = 0; axis < 3; axis++) {
        int count = canvas->extent[axis];
        double first = (shape->center[axis] - shape->radius[axis] + 1.0) * count / 2.0 - 1.0;
        double last = (shape->center[axis] + shape->radius[axis] + 1.0) * count / 2.0 + 1.0;
        low[axis] = count == 1 || first < 0.0 ? 0 : first > count ? count : (int)first;
        high[axis] = count == 1 || last > count ? count : last < 0.0 ? 0 : (int)last;
    }
    for (int z = low[0]; z < high[0]; z++) {
        for (int y = low[1]; y < high[1]; y++) {
            for (int x = low[2]; x < high[2]; x++) {
                double dz =
                    canvas->extent[0] == 1
                        ? 0.0
                        : (coordinate(z, canvas->extent[0]) - shape->center[0]) / shape->radius[0];
                double dy =
                    (coordinate(y, canvas->extent[1]) - shape->center[1]) / shape->radius[1];
                double dx =
                    (coordinate(x, canvas->extent[2]) - shape->center[2]) / shape->radius[2];
                double inside = (1.0 - sqrt(dx * dx + dy * dy + dz * dz)) / shape->softness;
                size_t at = ((size_t)z * (size_t)canvas->extent[1] + (size_t)y) *
                                (size_t)canvas->extent[2] +
                            (size_t)x;
                canvas->voxels[at] += (float)(shape->amplitude * smooth(inside));
            }
        }
    }
}

static void draw_at(phantom_canvas *canvas,
                    const double *center,
                    double rz,
                    double ry,
                    double rx,
                    double softness,
                    double amplitude)
{
    soft_ellipsoid shape = {{center[0], center[1], center[2]}, {rz, ry, rx}, softness, amplitude};
    draw(canvas, &shape);
}

static phantom_patient draw_patient(const csl_phantom_options *options, uint32_t subject)
{
    csl_random random = csl_random_stream(options->seed, CSL_RANDOM_PHANTOM, 1, subject);
    phantom_patient patient = {0};
    double width = between(&random, 0.9, 1.1), height = between(&random, 0.9, 1.1);
    for (int side = 0; side < 2; side++) {
        patient.lung[side][1] = between(&random, -0.12, 0.02);
        patient.lung[side][2] = (side ? 0.42 : -0.42) * width + between(&random, -0.03, 0.03);
    }
    patient.lung_radius[0] = between(&random, 0.5, 0.6);
    patient.lung_radius[1] = 0.66 * height;
    patient.lung_radius[2] = 0.34 * width;
    patient.thorax[0] = 0.8;
    patient.thorax[1] = 0.98;
    patient.thorax[2] = 0.88 * width;
    patient.heart[0] = -0.2;
    patient.heart[1] = between(&random, 0.22, 0.36);
    patient.heart[2] = between(&random, 0.08, 0.2);
    patient.rib_phase = csl_random_uniform(&random);
    patient.rib_count = between(&random, 3.0, 4.2);
    patient.site = (uint32_t)csl_random_below(&random, options->site_count);
    patient.condition = (uint32_t)csl_random_below(&random, options->class_count);
    double where = csl_random_uniform(&random);
    patient.split = where < 0.7   ? CSL_SPLIT_TRAIN
                    : where < 0.8 ? CSL_SPLIT_VALIDATION
                                  : CSL_SPLIT_TEST;
    return patient;
}

static void draw_anatomy(phantom_canvas *canvas, const phantom_patient *patient, csl_random *random)
{
    static const double middle[3] = {0.0, 0.0, 0.0};
    static const double back[3] = {0.45, 0.0, 0.0};
    double density = between(random, 0.30, 0.42);
    draw_at(canvas, middle, patient->thorax[0], patient->thorax[1], patient->thorax[2], 0.2, 0.55);
    for (int side = 0; side < 2; side++) {
        draw_at(canvas, patient->lung[side], patient->lung_radius[0], patient->lung_radius[1],
                patient->lung_radius[2], 0.25, -density);
    }
    draw_at(canvas, patient->heart, 0.35, 0.38, between(random, 0.24, 0.34), 0.35, 0.26);
    draw_at(canvas, back, 0.22, 1.2, 0.11, 0.5, 0.24);
    for (int side = 0; side < 2; side++) { /* vessels fan out from the hilum */
        for (int i = 0; i < 5; i++) {
            double center[3] = {between(random, -0.2, 0.2),
                                patient->lung[side][1] + between(random, -0.35, 0.35),
                                patient->lung[side][2] * between(random, 0.45, 1.1)};
            draw_at(canvas, center, 0.08, between(random, 0.03, 0.07), between(random, 0.08, 0.25),
                    0.9, between(random, 0.04, 0.12));
        }
    }
}

static void draw_ribs(phantom_canvas *canvas, const phantom_patient *patient, double tilt)
{
    for (int z = 0; z < canvas->extent[0]; z++) {
        for (int y = 0; y < canvas->extent[1]; y++) {
            for (int x = 0; x < canvas->extent[2]; x++) {
                double dx = coordinate(x, canvas->extent[2]) / patient->thorax[2];
                double dy = coordinate(y, canvas->extent[1]);
                double dz = coordinate(z, canvas->extent[0]) / patient->thorax[0];
                bool flat = canvas->extent[0] == 1; /* projected ribs cross the whole lung */
                double up = flat ? 0.0 : dy / patient->thorax[1];
                double radius = sqrt(dx * dx + up * up + dz * dz);
                double shell = flat ? smooth((1.0 - radius) * 6.0)
                                    : smooth((1.0 - radius) * 8.0) * smooth((radius - 0.7) * 8.0);
                double phase =
                    (dy + 0.45 * dx * dx + tilt * dx) * patient->rib_count + patient->rib_phase;
                double wave = fabs(2.0 * (phase - floor(phase)) - 1.0);
                double rib = smooth((0.42 - wave) * 4.0) * shell * smooth((0.9 - fabs(dy)) * 5.0);
                size_t at = ((size_t)z * (size_t)canvas->extent[1] + (size_t)y) *
                                (size_t)canvas->extent[2] +
                            (size_t)x;
                canvas->voxels[at] += (float)((flat ? 0.09 : 0.3) * rib);
            }
        }
    }
}

/* A point inside a lung, away from its edge. */
static void place(const phantom_patient *patient, csl_random *random, double *center_out)
{
    int side = (int)csl_random_below(random, 2);
    double offset[3], length;
    do {
        length = 0.0;
        for (int axis = 0; axis < 3; axis++) {
            offset[axis] = between(random, -1.0, 1.0);
            length += offset[axis] * offset[axis];
        }
    } while (length > 1.0);
    for (int axis = 0; axis < 3; axis++) {
        center_out[axis] =
            patient->lung[side][axis] + 0.68 * offset[axis] * patient->lung_radius[axis];
    }
}

/* Brightness of the same sum as a compact lesion of this radius, spread over a lung. In a volume it
 * falls where lesions fall, in balls of their size, so that no voxel's mean tells them apart. */
static void draw_haze(phantom_canvas *canvas,
                      const phantom_patient *patient,
                      csl_random *random,
                      double radius,
                      double amplitude)
{
    if (canvas->extent[0] > 1) {
        enum { BALL_COUNT = 12 };
        for (int i = 0; i < BALL_COUNT; i++) {
            double near[3];
            place(patient, random, near);
            draw_at(canvas, near, radius, radius, radius * between(random, 0.85, 1.2), 0.5,
                    amplitude / BALL_COUNT);
        }
        return;
    }
    double center[3];
    place(patient, random, center);
    double wide = between(random, 0.34, 0.5);
    double ratio = radius / wide;
    /* softness 1 holds less than softness 0.5: 0.30 to 0.58 of the disc */
    draw_at(canvas, center, wide, wide, wide, 1.0, 1.9 * amplitude * ratio * ratio);
}

/* A volume has noise and anatomy in proportion to its voxels, so lesions in one are more, larger
 * and brighter than in a projection, or no network of minutes would find them. */
static void draw_nodules(phantom_canvas *canvas,
                         const phantom_patient *patient,
                         csl_random *random,
                         bool compact)
{
    bool flat = canvas->extent[0] == 1;
    int count = flat ? 1 + (int)csl_random_below(random, 2) : 3 + (int)csl_random_below(random, 3);
    for (int i = 0; i < count; i++) {
        double center[3];
        double radius = flat ? between(random, 0.14, 0.2) : between(random, 0.2, 0.28);
        double amplitude = flat ? between(random, 0.2, 0.34) : between(random, 0.5, 0.7);
        if (compact) {
            place(patient, random, center);
            draw_at(canvas, center, radius, radius, radius * between(random, 0.85, 1.2), 0.5,
                    amplitude);
        } else {
            draw_haze(canvas, patient, random, radius, amplitude);
        }
    }
}

static void
draw_consolidation(phantom_canvas *canvas, const phantom_patient *patient, csl_random *random)
{
    double center[3];
    place(patient, random, center);
    double scale = canvas->extent[0] == 1 ? 1.0 : 3.0;
    int count = 4 + (int)csl_random_below(random, 4);
    for (int i = 0; i < count; i++) {
        double near[3];
        for (int axis = 0; axis < 3; axis++) {
            near[axis] = center[axis] + between(random, -0.2, 0.2);
        }
        double radius = between(random, 0.12, 0.22) * (scale > 1.0 ? 1.3 : 1.0);
        draw_at(canvas, near, radius, radius, radius, 0.8, scale * between(random, 0.08, 0.14));
    }
}

static void draw_diffuse(phantom_canvas *canvas, const phantom_patient *patient, csl_random *random)
{
    for (int i = 0; i < 40; i++) {
        double center[3];
        place(patient, random, center);
        double radius = between(random, 0.05, 0.08) * (canvas->extent[0] == 1 ? 1.0 : 2.0);
        double amplitude = between(random, -0.18, 0.26) * (canvas->extent[0] == 1 ? 1.0 : 1.5);
        draw_at(canvas, center, 0.12, radius, radius, 0.9, amplitude);
    }
}

static void
draw_condition(phantom_canvas *canvas, const phantom_patient *patient, csl_random *random)
{
    draw_nodules(canvas, patient, random, patient->condition == 1);
    if (patient->condition == 2) {
        draw_consolidation(canvas, patient, random);
    } else if (patient->condition == 3) {
        draw_diffuse(canvas, patient, random);
    }
}

static phantom_scanner make_scanner(const csl_phantom_options *options, uint32_t site)
{
    csl_random random = csl_random_stream(options->seed, CSL_RANDOM_PHANTOM, 2, site);
    phantom_scanner scanner = {.gain = between(&random, 0.85, 1.15),
                               .offset = between(&random, -0.04, 0.08),
                               .blur = between(&random, 0.0, 0.18),
                               .noise = between(&random, 0.015, 0.045)};
    double gamma = between(&random, 0.75, 1.35);
    for (int i = 1; i <= 256; i++) {
        scanner.curve[i] = (float)csl_exact_exp(gamma * csl_exact_log(i / 256.0));
    }
    return scanner;
}

/* Three-tap blur along one axis: weight of each neighbour. */
static void blur_axis(phantom_canvas *canvas, int axis, float weight, float *line)
{
    size_t stride = axis == 2   ? 1
                    : axis == 1 ? (size_t)canvas->extent[2]
                                : (size_t)canvas->extent[1] * (size_t)canvas->extent[2];
    size_t total =
        (size_t)canvas->extent[0] * (size_t)canvas->extent[1] * (size_t)canvas->extent[2];
    size_t count = (size_t)canvas->extent[axis];
    for (size_t start = 0; start < total; start++) {
        if (start / stride % count != 0) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            line[i] = canvas->voxels[start + i * stride];
        }
        for (size_t i = 0; i < count; i++) {
            float before = line[i ? i - 1 : 0], after = line[i + 1 < count ? i + 1 : i];
            canvas->voxels[start + i * stride] =
                (1 - 2 * weight) * line[i] + weight * (before + after);
        }
    }
}

static void expose(phantom_canvas *canvas,
                   const phantom_scanner *scanner,
                   csl_random *random,
                   float *line,
                   uint8_t *pixels_out)
{
    size_t total =
        (size_t)canvas->extent[0] * (size_t)canvas->extent[1] * (size_t)canvas->extent[2];
    for (int axis = canvas->extent[0] == 1 ? 1 : 0; axis < 3; axis++) {
        blur_axis(canvas, axis, (float)scanner->blur, line);
    }
    double gain = scanner->gain * between(random, 0.92, 1.08);
    double offset = 0.08 + scanner->offset + between(random, -0.03, 0.03);
    for (size_t i = 0; i < total; i++) {
        double value = (double)canvas->voxels[i] * gain + offset;
        value = value < 0.0 ? 0.0 : value > 1.0 ? 1.0 : value;
        int step = value >= 1.0 ? 255 : (int)(value * 256.0);
        double part = value * 256.0 - step;
        double shown = scanner->curve[step] * (1.0 - part) + scanner->curve[step + 1] * part;
        shown += scanner->noise * csl_random_normal(random);
        double byte = floor(shown * 255.0 + 0.5);
        pixels_out[i] = (uint8_t)(byte < 0.0 ? 0.0 : byte > 255.0 ? 255.0 : byte);
    }
}

static csl_status check_options(const csl_phantom_options *options)
{
    uint32_t largest = options->dims == 3 ? 128 : 512;
    if (options->dims != 2 && options->dims != 3) {
        return csl_fail(CSL_E_RANGE, "expected 2 or 3 dimensions, found %u", options->dims);
    }
    if (options->size < 16 || options->size > largest) {
        return csl_fail(CSL_E_RANGE, "expected a size of 16..%u voxels, found %u", largest,
                        options->size);
    }
    if (options->class_count < 2 || options->class_count > CSL_PHANTOM_CLASSES_MAX) {
        return csl_fail(CSL_E_RANGE, "expected 2..%d classes, found %u", CSL_PHANTOM_CLASSES_MAX,
                        options->class_count);
    }
    if (options->site_count < 1 || options->site_count > CSL_PHANTOM_SITES_MAX) {
        return csl_fail(CSL_E_RANGE, "expected 1..%d sites, found %u", CSL_PHANTOM_SITES_MAX,
                        options->site_count);
    }
    if (options->count < 1 || options->count > UINT32_MAX) {
        return csl_fail(CSL_E_RANGE, "expected 1..%u images, found %" PRIu64, UINT32_MAX,
                        options->count);
    }
    return CSL_OK;
}

static csl_status create_arrays(const csl_phantom_options *options, csl_dataset **dataset_out)
{
    static const char *const names[] = {"clear", "nodule", "consolidation", "diffuse opacity"};
    csl_shape shape = {{options->dims == 3 ? options->size : 1, options->size, options->size}, 1};
    csl_dataset *dataset = NULL;
    CSL_TRY(csl_dataset_create(options->class_count == 2 ? CSL_TASK_BINARY : CSL_TASK_MULTICLASS,
                               shape, CSL_U8, options->class_count, options->count, &dataset));
    dataset->class_names = calloc(options->class_count, sizeof *dataset->class_names);
    dataset->subject = calloc((size_t)options->count, sizeof *dataset->subject);
    dataset->group = calloc((size_t)options->count, sizeof *dataset->group);
    dataset->scanner = calloc((size_t)options->count, sizeof *dataset->scanner);
    if (!dataset->class_names || !dataset->subject || !dataset->group || !dataset->scanner) {
        csl_dataset_destroy(dataset);
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %" PRIu64 " phantoms", options->count);
    }
    for (uint32_t k = 0; k < options->class_count; k++) {
        snprintf(dataset->class_names[k], CSL_NAME_MAX, "%s", names[k]);
    }
    *dataset_out = dataset;
    return CSL_OK;
}

static void render_all(const csl_phantom_options *options,
                       phantom_canvas *canvas,
                       float *line,
                       csl_dataset *dataset)
{
    phantom_scanner scanners[CSL_PHANTOM_SITES_MAX];
    for (uint32_t site = 0; site < options->site_count; site++) {
        scanners[site] = make_scanner(options, site);
    }
    phantom_patient patient = {0};
    size_t image_size = csl_dataset_image_size(dataset);
    for (uint64_t i = 0, left = 0, subject = 0; i < dataset->count; i++, left--) {
        if (left == 0) {
            csl_random count =
                csl_random_stream(options->seed, CSL_RANDOM_PHANTOM, 3, (uint32_t)subject);
            left = 1 + csl_random_below(&count, 3);
            patient = draw_patient(options, (uint32_t)subject++);
        }
        csl_random random = csl_random_stream(options->seed, CSL_RANDOM_PHANTOM, 0, (uint32_t)i);
        memset(canvas->voxels, 0, image_size * sizeof *canvas->voxels);
        draw_anatomy(canvas, &patient, &random);
        draw_condition(canvas, &patient, &random);
        draw_ribs(canvas, &patient, between(&random, -0.08, 0.08));
        expose(canvas, &scanners[patient.site], &random, line,
               (uint8_t *)dataset->images + i * image_size);
        dataset->labels[i] = (int32_t)patient.condition;
        dataset->split[i] = patient.split;
        dataset->subject[i] =
            csl_random_derive(options->seed, CSL_RANDOM_PHANTOM, 4, (uint32_t)subject);
        dataset->group[i] = (int32_t)patient.site;
        dataset->scanner[i] = (uint16_t)patient.site;
    }
}

csl_status csl_phantom_create(const csl_phantom_options *options, csl_dataset **dataset_out)
{
    CSL_TRY(check_options(options));
    csl_dataset *dataset = NULL;
    CSL_TRY(create_arrays(options, &dataset));
    phantom_canvas canvas = {
        NULL, {(int)dataset->shape.extent[0], (int)options->size, (int)options->size}};
    canvas.voxels = calloc(csl_shape_count(dataset->shape), sizeof *canvas.voxels);
    float *line = calloc(options->size, sizeof *line);
    if (!canvas.voxels || !line) {
        free(canvas.voxels);
        free(line);
        csl_dataset_destroy(dataset);
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a phantom of %u voxels a side",
                        options->size);
    }
    render_all(options, &canvas, line, dataset);
    free(canvas.voxels);
    free(line);
    *dataset_out = dataset;
    return CSL_OK;
}
