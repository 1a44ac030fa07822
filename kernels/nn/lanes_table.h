/* Defines the table of the file's instruction set; LANES_TABLE and LANES_NAME say which. */
#include "columns_body.h"
#include "dropout_body.h"
#include "loss_body.h"
#include "pool_body.h"

const csl_lane_functions LANES_TABLE = {
    .name = LANES_NAME,
    .width = PART_LANES,
    .moments = moments16,
    .gradients = gradients16,
    .affine = affine16,
    .affine_gradient = affine_gradient16,
    .max_row = max_row,
    .max_gradient_row = max_gradient_row,
    .dropout = dropout_range,
    .largest = largest,
    .exponentials = exponentials,
    .finish_softmax = finish_softmax,
    .sigmoid_image = sigmoid_image,
    .squared_image = squared_image,
};
