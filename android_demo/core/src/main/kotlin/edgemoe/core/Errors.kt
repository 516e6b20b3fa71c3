package edgemoe.core

/**
 * What goes wrong, as the Python package names it. The message says what is wrong and what to do, in English; an app
 * says it in its reader's language by the type.
 *
 *     EdgeMoeError
 *       UsageError        a call that cannot be
 *       DataError         an image, a tensor or a job that is not one
 *       BundleError       no bundle, or one that cannot be true
 *         IntegrityError  a file of it is missing, cut or altered
 *       BackendError      an engine refuses a part, or no set can run here
 *       StorageError      what was measured cannot be kept
 */
sealed class EdgeMoeError(message: String, cause: Throwable? = null) : RuntimeException(message, cause)

class UsageError(message: String) : EdgeMoeError(message)

class DataError(message: String) : EdgeMoeError(message)

open class BundleError(message: String) : EdgeMoeError(message)

class IntegrityError(message: String) : BundleError(message)

class BackendError(message: String, cause: Throwable? = null) : EdgeMoeError(message, cause)

class StorageError(message: String, cause: Throwable? = null) : EdgeMoeError(message, cause)
