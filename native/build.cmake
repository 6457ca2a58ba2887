# Configures and builds the kernels into BUILD_DIR: cmake -DBUILD_DIR=... -P build.cmake. Two builds at the same time
# take turns. Where there is no compiler it says so and succeeds without a library; broken code is an error.
set(source ${CMAKE_CURRENT_LIST_DIR})
file(MAKE_DIRECTORY ${BUILD_DIR})
file(LOCK ${BUILD_DIR}/build.lock GUARD PROCESS TIMEOUT 1800)

execute_process(COMMAND ${CMAKE_COMMAND} -S ${source} -B ${BUILD_DIR} -DCMAKE_BUILD_TYPE=Release
                RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE reason)
if(failed)
  message("The native kernels cannot be configured: ${reason}")
  return()
endif()

# Without a number, make would start every file at once.
cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BUILD_DIR} --config Release --parallel ${cores} --target interp_kernels
                RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "The native kernels do not compile.")
endif()
file(GLOB library ${BUILD_DIR}/*interp_kernels.so ${BUILD_DIR}/*interp_kernels.dylib ${BUILD_DIR}/interp_kernels.dll)
file(TOUCH ${library})
