/* Random changes of a training image; the device applies them. */
#include "nn/batch.h"

#include <math.h>
#include <string.h>

bool csl_augmentation_is_active(const csl_augmentation *a)
{
    return a->flip_horizontal || a->flip_vertical || a->flip_depth || a->shift >= 1.0f ||
           a->rotation_degrees > 0.0f || a->scale > 0.0f || a->intensity > 0.0f;
}

/* Uniform in [-bound, bound]. */
static double draw_symmetric(csl_random *random, double bound)
{
    return (2.0 * csl_random_uniform(random) - 1.0) * bound;
}

/* Turns the columns `a` and `b` of a 3x3 matrix by an angle: matrix = matrix * rotation. */
static void rotate(double matrix[9], int a, int b, double angle)
{
    double cosine = cos(angle);
    double sine = sin(angle);
    for (int row = 0; row < 3; row++) {
        double left = matrix[3 * row + a];
        double right = matrix[3 * row + b];
        matrix[3 * row + a] = left * cosine - right * sine;
        matrix[3 * row + b] = left * sine + right * cosine;
    }
}

/* Every draw is made whatever is switched on, so that one option never changes what another draws.
 */
void csl_augmentation_draw(const csl_augmentation *augmentation,
                           csl_shape shape,
                           csl_random *random,
                           csl_augment *augment_out)
{
    bool is_3d = shape.extent[0] > 1;
    bool flips[3] = {augmentation->flip_depth && is_3d, augmentation->flip_vertical,
                     augmentation->flip_horizontal};
    double matrix[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    double radians = (double)augmentation->rotation_degrees * (3.14159265358979323846 / 180.0);
    double angles[3]; /* about depth, height, width */
    for (int axis = 0; axis < 3; axis++) {
        angles[axis] = draw_symmetric(random, radians);
    }
    rotate(matrix, 1, 2, angles[0]);
    if (is_3d) {
        rotate(matrix, 0, 2, angles[1]);
        rotate(matrix, 0, 1, angles[2]);
    }
    /* The matrix leads from output to input, so a zoom of z divides. */
    double zoom = 1.0 / (1.0 + draw_symmetric(random, (double)augmentation->scale));
    double span = 2.0 * floor((double)augmentation->shift) + 1.0; /* whole voxels: a crop */
    for (int axis = 0; axis < 3; axis++) {
        bool is_flipped = csl_random_uniform(random) < 0.5 && flips[axis];
        double shift =
            floor(csl_random_uniform(random) * span) - floor((double)augmentation->shift);
        bool is_flat = axis == 0 && !is_3d;
        double factor = (is_flat ? 1.0 : zoom) * (is_flipped ? -1.0 : 1.0);
        for (int row = 0; row < 3; row++) {
            matrix[3 * row + axis] *= factor;
        }
        augment_out->shift[axis] = is_flat ? 0.0f : (float)shift;
    }
    for (int i = 0; i < 9; i++) {
        augment_out->matrix[i] = (float)matrix[i];
    }
    augment_out->gain = (float)(1.0 + draw_symmetric(random, (double)augmentation->intensity));
    augment_out->offset = (float)draw_symmetric(random, (double)augmentation->intensity);
}
