# Options, language standard, warnings and sanitizers. Included once, from the top.
include(GNUInstallDirs)

set(CONSILIUM_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO (if nvcc is found), ON, OFF")
set_property(CACHE CONSILIUM_CUDA PROPERTY STRINGS AUTO ON OFF)
string(TOUPPER "${CONSILIUM_CUDA}" CONSILIUM_CUDA)
if(CONSILIUM_CUDA MATCHES "^(ON|TRUE|YES|Y|1)$")
  set(CONSILIUM_CUDA ON)
elseif(CONSILIUM_CUDA MATCHES "^(OFF|FALSE|NO|N|0)$")
  set(CONSILIUM_CUDA OFF)
elseif(NOT CONSILIUM_CUDA STREQUAL "AUTO")
  message(FATAL_ERROR "CONSILIUM_CUDA: expected AUTO, ON or OFF, found '${CONSILIUM_CUDA}'")
endif()
option(CONSILIUM_TESTS "Build the tests" ON)
option(CONSILIUM_WERROR "Treat warnings as errors" ON)
set(CONSILIUM_SANITIZE "" CACHE STRING "Sanitizers for -fsanitize=, for example address,undefined")
option(CONSILIUM_COVERAGE "Instrument for gcov" OFF)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# Sanitized builds stop at -O1: instrumented sorting networks take minutes to compile at -O3.
set(consilium_optimisation -O3)
if(CONSILIUM_SANITIZE)
  set(consilium_optimisation -O1)
endif()
set(CMAKE_C_FLAGS_RELWITHDEBINFO "${consilium_optimisation} -g")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "${consilium_optimisation} -g")

# What every target compiles with. -ffp-contract=off: an EXACT operation is a written sequence of
# IEEE-754 operations, and the compiler may not fuse two of them into one.
add_library(consilium_flags INTERFACE)
target_compile_definitions(consilium_flags INTERFACE _XOPEN_SOURCE=700 _DEFAULT_SOURCE)
target_compile_options(consilium_flags INTERFACE
  $<$<COMPILE_LANGUAGE:C,CXX>:-ffp-contract=off -fno-fast-math>
  $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Wconversion -Wshadow -Wvla -Wstrict-prototypes
    -Wmissing-prototypes -Wundef -Wformat=2>
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra>)
if(CONSILIUM_WERROR)
  target_compile_options(consilium_flags INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:-Werror>)
endif()
if(CONSILIUM_SANITIZE)
  # GCC's manual: instrumentation makes this warning see uses that are none.
  target_compile_options(consilium_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C,CXX>:-Wno-maybe-uninitialized>)
  add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${CONSILIUM_SANITIZE}>
                      $<$<COMPILE_LANGUAGE:C,CXX>:-fno-omit-frame-pointer>
                      $<$<COMPILE_LANGUAGE:C,CXX>:-fno-sanitize-recover=all>)
  add_link_options(-fsanitize=${CONSILIUM_SANITIZE})
endif()
if(CONSILIUM_COVERAGE)
  add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:--coverage>)
  add_link_options(--coverage)
endif()

# consilium_add_layer(NAME  SOURCES ... LINK_PUBLIC ... LINK_PRIVATE ...)
# One static library per layer: consilium::NAME, headers in include/ public, the folder itself private.
function(consilium_add_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK_PUBLIC;LINK_PRIVATE" ${ARGN})
  add_library(consilium_${name} ${ARG_SOURCES})
  add_library(consilium::${name} ALIAS consilium_${name})
  set_target_properties(consilium_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(consilium_${name}
    PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(consilium_${name}
    PUBLIC ${ARG_LINK_PUBLIC}
    PRIVATE $<BUILD_INTERFACE:consilium_flags> ${ARG_LINK_PRIVATE})
endfunction()
